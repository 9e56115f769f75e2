"""The loop that all methods are run by: rounds of updates, and predictions on the target between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.adaptation.config import AdaptConfig
from l2o_env.adaptation.images import SIZES_DIFFER, LabelledImages, UnlabelledImages
from l2o_env.adaptation.method import Batch, Method, Plan, RoundStart, Task
from l2o_env.adaptation.weights import load_weights, weights_of
from l2o_env.errors import ConfigError
from l2o_env.models.base import Optimizee

MAX_PROBABILITIES = 8 * 2**30
"""Most bytes of predictions on the target, which are kept between rounds."""


class Round(NamedTuple):
    """What a round came to.

    Attributes:
        number: Which, from 1; 0 is the start.
        losses: Mean losses of its updates, by name.
        pseudo: Pseudo labels that it was trained with ``(n, ...)``, ``IGNORED`` for none; None if the method has none.
        probabilities: Predictions on the target after it ``(n, n_classes, ...)``.
        diverged: Whether weights became non-finite; then they are those from before the round.
    """

    number: int
    losses: dict[str, float]
    pseudo: Tensor | None
    probabilities: Tensor
    diverged: bool


class Adaptation:
    """Adapts a network by a method, round by round. Labels of the target are in none of its arguments.

    Each round draws from generators of its own seed, so that a run that goes on from a round's state ends as if it had
    never stopped.

    Args:
        method: The method's class.
        model: The network to adapt, which is changed.
        source: Labelled source images.
        target: Target images.
        n_classes: Classes of the task.
        config: Settings.
        seed: Seed of everything random.

    Attributes:
        round: Rounds made.
        diverged: Whether the last one ended with weights that are not finite; no more can be made.

    Raises:
        ConfigError: If the method cannot work on the network.
    """

    def __init__(
        self,
        method: type[Method],
        model: Optimizee,
        source: LabelledImages,
        target: UnlabelledImages,
        n_classes: int,
        config: AdaptConfig,
        seed: int,
    ) -> None:
        self.config, self.seed, self.model = config, seed, model.eval()
        self.source, self.target = source, target
        self.round, self.diverged = 0, False
        images = next(target.chunks())[:1]
        if not method.dense and self._is_dense(images):
            raise ConfigError(f"The method {method.name!r} is for one class per image; use one of segmentation's.")
        self.method = method(Task(model, n_classes, images.shape[-1], config, self._seeds(-1)[0]))
        self._probabilities: Tensor | None = None

    def _seeds(self, number: int) -> list[int]:
        return np.random.SeedSequence([self.seed, number + 1]).generate_state(3).tolist()

    @torch.no_grad()
    def _is_dense(self, images: Tensor) -> bool:
        return self.model(images)[0].dim() == 4

    def _train_batch_statistics(self, training: bool) -> None:
        for network in self.method.networks.values():
            if isinstance(network, Optimizee):
                network.train_batch_statistics(training)

    @torch.no_grad()
    def probabilities(self) -> Tensor:
        """What the network says of the target images now; computed once, however often it is asked for."""
        if self._probabilities is None:
            self.method.end_round(self.source)
            self._probabilities = _probabilities(self.method.predict, self.target)
        return self._probabilities

    @torch.inference_mode(False)
    @torch.enable_grad()
    def run_round(self) -> Round:
        """Makes a round of updates, and predicts."""
        before = {name: tensor.clone() for name, tensor in self.state().items()}
        first, second, third = self._seeds(self.round)
        start = RoundStart(
            self.round, self.probabilities(), self.source, self.target,
            np.random.default_rng(first), torch.Generator().manual_seed(second),
        )  # fmt: skip
        plan = self.method.begin_round(start)
        self._probabilities = None
        sums: dict[str, Tensor] = {}
        self._train_batch_statistics(True)
        for batch in self._batches(plan, start.rng, third) if plan.trains else ():
            for name, loss in self.method.update(batch).items():
                sums[name] = sums.get(name, torch.zeros_like(loss)) + loss
        self._train_batch_statistics(False)
        self.round += 1
        self.diverged = not all(bool(p.isfinite().all()) for p in self.model.parameters())
        if self.diverged:
            self.load_state(before)
        losses = {name: float(total) / self.config.updates for name, total in sums.items()}
        return Round(self.round, losses, plan.pseudo, self.probabilities(), self.diverged)

    def _batches(self, plan: Plan, rng: np.random.Generator, seed: int) -> Iterator[Batch]:
        """The round's batches."""
        pools = [
            np.arange(n) if chosen is None else chosen.numpy()
            for chosen, n in ((plan.source, len(self.source)), (plan.target, len(self.target)))
        ]
        of_source, of_target = batch_indices(pools, plan.mixed, self.config.updates, self.config.batch_size, rng)
        done, total = self.round * self.config.updates, self.config.rounds * self.config.updates
        sources, targets = self.source.batches(of_source, seed), self.target.batches(of_target, seed, plan.pseudo)
        for k, ((source, labels), (target, pseudo)) in enumerate(zip(sources, targets, strict=True)):
            yield Batch(source, labels, target, pseudo, of_target[k].to(target.device), (done + k) / total)

    def state(self) -> dict[str, Tensor]:
        """Networks and optimizers by name; with the number of rounds, all that the coming rounds depend on."""
        networks = self.method.networks.items()
        state = {f"{name}.{key}": value for name, net in networks for key, value in weights_of(net).items()}
        for name, optimizer in self.method.optimizers.items():
            for i, values in optimizer.state_dict()["state"].items():
                state |= {f"optimizer.{name}.{i}.{key}": v for key, v in values.items() if isinstance(v, Tensor)}
        return state

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Takes up what :meth:`state` returned; `round` is for the caller to set.

        Raises:
            ConfigError: If it is of other networks.
        """
        try:
            for name, network in self.method.networks.items():
                load_weights(network, _under(f"{name}.", state))
            for name, optimizer in self.method.optimizers.items():
                values: dict[int, dict[str, Tensor]] = {}
                for key, tensor in _under(f"optimizer.{name}.", state).items():
                    i, _, field = key.partition(".")
                    values.setdefault(int(i), {})[field] = tensor.clone()
                optimizer.load_state_dict({**optimizer.state_dict(), "state": values})
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"The state is that of another network or method: {reason}") from error
        self._probabilities = None


@torch.no_grad()
def predictions(model: Optimizee, target: UnlabelledImages) -> Tensor:
    """What a network says of the target images, ``(n, n_classes, ...)``."""
    return _probabilities(lambda images: model(images)[0], target)


def _probabilities(logits: Callable[[Tensor], Tensor], target: UnlabelledImages) -> Tensor:
    parts: list[Tensor] = []
    n_bytes = 0
    for images in target.chunks():
        parts.append(logits(images).softmax(1))
        if parts[-1].shape[1:] != parts[0].shape[1:]:
            raise ConfigError(SIZES_DIFFER)
        n_bytes += parts[-1].nbytes
        if n_bytes > MAX_PROBABILITIES:
            raise ConfigError(
                f"Predictions on the target need more than {MAX_PROBABILITIES >> 30} GiB; use smaller images."
            )
    return torch.cat(parts)


def batch_indices(
    pools: list[NDArray[np.int64]], mixed: bool, n_batches: int, size: int, rng: np.random.Generator
) -> tuple[list[Tensor], list[Tensor]]:
    """Indices of each batch: each pool is gone through in an order of its own, and again in another.

    Args:
        pools: What is drawn from: indices of source images, and of target images.
        mixed: Whether a batch is drawn from both together, so that their parts of it vary.
        n_batches: How many batches.
        size: Images of a batch, of both together, or of each.
        rng: Draws the orders.

    Returns:
        Those of the source, and those of the target.
    """
    if not mixed:
        drawn = [pool[_cycle(len(pool), n_batches * size, rng)].reshape(n_batches, size) for pool in pools]
        return [torch.from_numpy(row) for row in drawn[0]], [torch.from_numpy(row) for row in drawn[1]]
    n_source = len(pools[0])
    union = np.concatenate(pools)
    places = _cycle(len(union), n_batches * size, rng).reshape(n_batches, size)
    of_source = [torch.from_numpy(union[row[row < n_source]]) for row in places]
    return of_source, [torch.from_numpy(union[row[row >= n_source]]) for row in places]


def _cycle(n: int, length: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.concatenate([rng.permutation(n) for _ in range(-(-length // n))])[:length]


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
