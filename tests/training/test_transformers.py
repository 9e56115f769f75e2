"""Learned rates as the scheduler of a ``Trainer``, also where a training is resumed within a window."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from l2o_env import ConfigError, LearnedRates, param_groups
from tests.training.loops import Net, batches, network, policy, scheduled, train

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytestmark = pytest.mark.filterwarnings("ignore")  # of what they and their dependencies say to each other


class Model(nn.Module):
    """As the ``Trainer`` takes them: the loss is its own."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net
        self.rates: list[LearnedRates] = []  # in a list, where nothing registers it

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss and logits."""
        logits = self.net(x)
        loss = F.cross_entropy(logits, labels)
        if self.training:
            loss = self.rates[0].observe(loss) + self.rates[0].guidance(x)
        return {"loss": loss, "logits": logits}


def _trainer(folder: Path, steps: int = 12, callback: dict[str, Any] | None = None, **arguments: Any) -> Any:
    from l2o_env.training.transformers import LearnedRatesCallback

    net, proxy = network()
    model = Model(net)
    optimizer = torch.optim.AdamW(param_groups(net), lr=1e-3)
    rates = LearnedRates(optimizer, net, policy(), total_updates=12, window=3, proxy=proxy)
    model.rates.append(rates)
    data = [{"x": x, "labels": y} for xs, ys in batches(12) for x, y in zip(xs, ys, strict=True)]
    keywords: dict[str, Any] = {
        "max_steps": steps, "per_device_train_batch_size": 8, "report_to": [], "use_cpu": True, "disable_tqdm": True,
        "train_sampling_strategy": "sequential", "save_strategy": "steps", "save_steps": 7, "logging_steps": 3,
        "max_grad_norm": 0.0, **arguments,
    }  # fmt: skip
    return transformers.Trainer(
        model,
        transformers.TrainingArguments(str(folder), **keywords),
        train_dataset=data,
        eval_dataset=data[:8],
        optimizers=(optimizer, rates),
        callbacks=[LearnedRatesCallback(rates, **(callback or {}))],
    )


@pytest.mark.parametrize("gathered", [1, 2])
@pytest.mark.parametrize("clip_norm", [None, 1e6])
def test_it_sets_the_rates_of_the_plain_loop(tmp_path: Path, clip_norm: float | None, gathered: int) -> None:
    expected = train(*scheduled(), batches(12))
    settings = {"per_device_train_batch_size": 8 // gathered, "gradient_accumulation_steps": gathered}
    trainer = _trainer(tmp_path, callback={"clip_norm": clip_norm}, **settings)
    trainer.train()
    rates = trainer.lr_scheduler
    assert rates.updates == 12
    np.testing.assert_allclose(rates.get_last_lr(), expected[-1], rtol=1e-3)


def test_a_resumed_training_goes_on_in_the_middle_of_a_window(tmp_path: Path) -> None:
    whole = _trainer(tmp_path / "whole")
    whole.train()
    _trainer(tmp_path / "parts", 7).train()
    second = _trainer(tmp_path / "parts", 12)
    second.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-7"))
    assert second.lr_scheduler.updates == 12
    assert second.lr_scheduler.get_last_lr() == whole.lr_scheduler.get_last_lr()
    for name, p in whole.model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[name], p, rtol=0, atol=0)


def test_an_evaluation_is_told_and_rates_of_each_layer_are_logged(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = _trainer(tmp_path, eval_strategy="steps", eval_steps=3)
    trainer.train()
    assert trainer.lr_scheduler._validation[0] > 0
    events = EventAccumulator(str(tmp_path / "learned_rates"))
    events.Reload()
    assert [event.step for event in events.Scalars("lr/head")] == [0, 3, 6, 9]


def test_another_scheduler_and_two_clippings_are_refused(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, callback={"clip_norm": 1.0}, max_grad_norm=1.0)
    with pytest.raises(ConfigError, match="max_grad_norm=0"):
        trainer.train()
    trainer = _trainer(tmp_path)
    trainer.create_optimizer_and_scheduler = partial(_constant, trainer)
    trainer.lr_scheduler = None
    with pytest.raises(ConfigError, match="another scheduler"):
        trainer.train()


def _constant(trainer: Any, num_training_steps: int) -> None:
    trainer.lr_scheduler = torch.optim.lr_scheduler.ConstantLR(trainer.optimizer)
