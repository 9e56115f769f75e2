"""DACBench's SGD environment (the package's own class) on a pair's network and data.

The package is no dependency: it is measured where ``import dacbench`` works. Its environment trains with AdamW and
knows no guidance, so its loss is the cross-entropy of the network's new head alone, which is less work than ours.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from l2o_env.models.base import Optimizee, new_generator
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.splits import in_memory


def installed() -> bool:
    """Whether DACBench can be measured."""
    return importlib.util.find_spec("dacbench") is not None


class _LogProbabilities(nn.Module):
    """The new head of a network, as DACBench's default loss (negative log-likelihood) takes it."""

    def __init__(self, model: Optimizee) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)[0].log_softmax(-1)


class DacbenchSGD:
    """One environment, in the form of a contender.

    Args:
        pair: Network and data. The validation images serve as its test images too.
        updates: Updates of an episode, at most: whole epochs are made of it.
        batch_size: Images per update.
        epoch_mode: One step an epoch, or one step a batch. In the latter its cutoff is a multiple of the batches of
            an epoch, with which it validates on all validation images at every step.
        lr: The learning rate of every step.
    """

    def __init__(self, pair: Pair, updates: int, batch_size: int, *, epoch_mode: bool, lr: float = 1e-3) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of optional parts that are not installed
            from dacbench.abstract_benchmark import objdict
            from dacbench.benchmarks.sgd_benchmark import SGD_DEFAULTS
            from dacbench.envs.sgd import SGDEnv, SGDInstance
        module: Any = sys.modules[SGDEnv.__module__]
        splits = [in_memory(split) for split in (pair.train, pair.validation)]
        train, validation = (TensorDataset(split.images, split.labels) for split in splits)
        # The loaders that its own function makes, on our images instead of a download.
        loaders = (
            DataLoader(train, batch_size=batch_size, drop_last=True, shuffle=True),
            DataLoader(validation, batch_size=batch_size, shuffle=True),
            DataLoader(validation, batch_size=64),
        )
        module.random_torchvision_loader = lambda *args, **kwargs: ((train, validation), loaders)
        self.per_epoch = len(train) // batch_size
        epochs = max(updates // self.per_epoch, 1)
        instance = SGDInstance(
            model=lambda: _LogProbabilities(pair.make_model(new_generator(0))),
            optimizer_type="AdamW",
            optimizer_params={},
            dataset_path="",
            dataset_name="",
            batch_size=batch_size,
            fraction_of_dataset=1.0,
            train_validation_ratio=None,
            seed=0,
        )
        cutoff = epochs if epoch_mode else epochs * self.per_epoch
        config = objdict(SGD_DEFAULTS.copy())
        config.update(epoch_mode=epoch_mode, cutoff=cutoff, instance_set={0: instance}, device="cpu")
        config["loss_function"] = lambda **kwargs: nn.NLLLoss(reduction="none", **kwargs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.env = SGDEnv(config)
        self.n_steps, self.lr = cutoff, lr
        self.updates_per_step = float(self.per_epoch if epoch_mode else 1)

    def reset(self) -> None:
        """Starts an episode."""
        self.env.reset(seed=0)

    def step(self) -> None:
        """One step of the environment."""
        self.env.step(self.lr)
