"""The inner loop: windows of updates of N optimizees, and the statistics that they end with.

Two implementations: ``StackedPopulation`` runs all optimizees in one batched graph, ``LoopedPopulation`` runs any
network, one optimizee after the other, on an optimizer of ``torch.optim``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.guidance import Context, make_guidance
from l2o_env.guidance.weight import GuidanceWeight
from l2o_env.inner.device_data import DeviceData
from l2o_env.inner.metrics import Evaluation
from l2o_env.inner.optimizees import Optimizees
from l2o_env.inner.statistics import (
    HEAD_FIELDS,
    LAYER_FIELDS,
    GradientSums,
    LayerStatistics,
    all_finite,
    gradient_sums,
    layer_statistics,
)
from l2o_env.inner.stream_data import StreamData
from l2o_env.inner.window import Measurements, Start, Window, WindowTime
from l2o_env.lr_curve import warmup_poly
from l2o_env.models.base import new_generator
from l2o_env.optimizers import RULES
from l2o_env.pairs.pair import Pair
from l2o_env.threads import with_fitting_threads


class Gradients(NamedTuple):
    """Gradients ``(N, n_weights)`` and losses ``(N,)`` of one batch; ``guidance`` is None unless asked for.

    ``scale`` is the weight of ``guidance`` in ``total``, one for all or ``(N, 1)``.
    """

    total: Tensor
    guidance: Tensor | None
    ce: Tensor
    kl: Tensor
    scale: float | Tensor


class Population(Optimizees):
    """N optimizees with one learning rate per layer group each.

    Args:
        pairs: See ``Optimizees``, like those that follow.
        n: Number of optimizees.
        config: Settings of the inner loop.
        dtype: Floating-point type of weights and images.
        data: The pairs' images on the device, if another population has them already.

    Attributes:
        rule: The optimizer of the inner loop.
        state: Its buffers by name, ``(N, n_weights)`` each, and what it counts.
        order: Indices of the training images of all updates of the episodes, ``(N, budget, batch)``.
        guidance: The term that keeps optimizees close to their proxy.
        guidance_weight: Its weight.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        n: int,
        config: EnvConfig,
        dtype: torch.dtype = torch.float32,
        *,
        data: Sequence[DeviceData | StreamData] | None = None,
    ) -> None:
        super().__init__(pairs, n, config, dtype, data=data)
        self.rule = RULES[config.optimizer](config.momentum, config.weight_decay, config.beta2)
        self.state = self.rule.new_state(self.weights, len(self.layout.names))
        self.order = torch.zeros((n, config.budget, config.batch_size), dtype=torch.int32, device=self.device)
        self.guidance = make_guidance(Context(n, config, self.layout, self.pairs, self.device, dtype))
        self.guidance_weight = GuidanceWeight(config, self.weights, n)

    def _restart(self, i: int, start: Start) -> None:
        super()._restart(i, start)
        for buffer in self.state.values():
            buffer[i] = 0
        self.order[i] = batch_order(self.data[start.pair].n_train, self.config, start.batch_seed).to(self.device)
        self.guidance.start(i, start.pair, start.batch_seed)

    @with_fitting_threads
    def run(
        self,
        rates: NDArray[np.float64],
        n_updates: NDArray[np.int64],
        guidance_weights: NDArray[np.float64] | None = None,
    ) -> Window:
        """Makes a window of updates, then validates. The device is read once, at the window's end.

        Args:
            rates: Learning rates ``(N, n_layers)``.
            n_updates: Updates of each optimizee ``(N,)``; 0 measures without an update.
            guidance_weights: Weight of the guidance term ``(N,)``; None takes that of the settings.
        """
        self._check(rates)
        # 1. All that the device needs to know goes there before the first update: a copy from the host would wait for
        #    the updates that are under way.
        self._begin_window()
        start = self.weights.clone()
        self.rule.to_train(self.weights, self.state)
        lengths = np.maximum(n_updates, 1)  # who makes no update measures one batch all the same
        steps = np.arange(lengths.max())
        index = self._batches(steps)
        updates, last = steps[:, None] < n_updates, steps[:, None] == lengths - 1
        masks = torch.as_tensor(np.stack([updates, last, steps[:, None] < lengths]), device=self.device)
        self.guidance_weight.set(guidance_weights)
        self._set_rates(torch.as_tensor(rates, dtype=torch.float64))
        curve = self._curve(steps)
        # 2. The updates. Optimizees whose window is shorter than the longest wait at its end.
        sums = torch.zeros(2, self.n, device=self.device, dtype=self.dtype)
        heads = torch.zeros_like(sums) if self.config.observation == "asg" else None
        measured: GradientSums | None = None
        for step in steps:
            if curve is not None:
                self._set_rates(torch.as_tensor(rates * curve[:, step, None], dtype=torch.float64))
            if heads is not None:
                heads += torch.where(masks[2, step], self._head_moments(), 0.0)
            with self.stage("gradients"):
                gradients = self._gradients(index[:, step], separate=bool(last[step].any()))
            sums += torch.where(masks[2, step], torch.stack([gradients.ce, gradients.kl]), 0.0)
            if last[step].any():
                measured = self._measured(gradients, measured, masks[1, step])
            del gradients  # the guidance's own is as large as the weights
            with self.stage("update"):
                self._update(updates[step], masks[0, step])
            self.guidance.updated(updates[step])
        self.done += n_updates
        self.rule.to_judge(self.weights, self.state)
        # 3. What the window has come to.
        assert measured is not None
        statistics = layer_statistics(
            self.layout, weights=self.weights, reference=self.reference, window_start=start, gradients=measured
        )
        counts = torch.as_tensor(lengths, device=self.device)
        if heads is not None:
            statistics = replace(statistics, head_mean=heads[0] / counts, head_std=heads[1] / counts)
        ce, kl = sums / counts
        window = self._finish(statistics, start, ce, kl)
        self._end_window(window)
        return window

    def _head_moments(self) -> Tensor:
        """Mean and standard deviation of the head's last matrix as the released ASG takes them, ``(2, N)``."""
        head = self.layout.unflatten(self.weights)[self.layout.head_weight].flatten(1)
        return torch.stack([head.mean(-1), head.std(-1)])

    def _check(self, rates: NDArray[np.float64]) -> None:
        if self.rule.one_rate and (rates != rates[:, :1]).any():
            unequal = rates[(rates != rates[:, :1]).any(1)][0]
            raise ConfigError(
                f"The optimizer {self.rule.name!r} takes one learning rate for all layer groups; got "
                f"{unequal.tolist()}. Use a uniform schedule, or another optimizer."
            )

    def _begin_window(self) -> None:
        """Called before a window; see :meth:`_end_window`."""

    def _end_window(self, window: Window) -> None:
        """Called after a window, to let go of what was needed for it alone."""

    def window_time(self) -> WindowTime:
        """Time of all windows so far; zeros of a population that only takes images in memory."""
        return WindowTime(0.0, 0.0)

    def _curve(self, ahead: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Factors of the rates ``(N, len(ahead))`` at the updates to come, if they follow a curve."""
        config = self.config
        if config.lr_curve == "none":
            return None
        return warmup_poly(self.done[:, None] + ahead, config.budget, config.lr_warmup)

    def _batches(self, ahead: NDArray[np.int64]) -> Tensor:
        """Training images ``(N, len(ahead), batch)`` of the updates to come; ``ahead`` counts from the next one."""
        steps = np.minimum(self.done[:, None] + ahead, self.config.budget - 1)
        rows = torch.arange(self.n, device=self.device)[:, None]
        return self.order[rows, torch.as_tensor(steps, device=self.device)].long()

    def _measured(self, gradients: Gradients, before: GradientSums | None, mask: Tensor) -> GradientSums:
        """Sums for the statistics of the optimizees in `mask` ``(N,)``, whose window ends with this batch."""
        assert gradients.guidance is not None
        buffer = self.rule.momentum_buffer
        sums = gradient_sums(
            self.layout,
            gradient=gradients.total,
            guidance_gradient=gradients.guidance,
            guidance_weight=gradients.scale,
            momentum=torch.zeros_like(gradients.total) if buffer is None else self.state[buffer],
        )
        return sums if before is None else before.replaced(sums, mask)

    def _finish(self, statistics: LayerStatistics, window_start: Tensor, ce: Tensor, kl: Tensor) -> Window:
        """Validates, takes back what diverged, and reads everything back at once."""
        # 1. Validation of diverged weights would be meaningless, so it sees the last finite ones.
        finite = all_finite(self.weights) & ce.isfinite() & kl.isfinite()
        torch.where(finite[:, None], self.weights, window_start, out=self.weights)
        validation = self.evaluate("validation")
        # 2. Finite weights may still give losses that are not, or that no penalty would come up to: those are taken
        #    back too. NaN is not below the limit either.
        limit = self.config.divergence_loss
        bad = ~(finite & (validation.ce <= limit) & (validation.kl <= limit))
        torch.where(bad[:, None], window_start, self.weights, out=self.weights)
        # Validation stands for shifted images that pairs do not have, and is not made twice.
        shifted = Evaluation(*(torch.full_like(ce, torch.nan) for _ in range(3)))
        if self.config.reward == "transfer":
            shifted = self.evaluate("shifted") if any(pair.shifted for pair in self.pairs) else validation
        # 3. The one read-back.
        losses = torch.stack([ce, kl, *validation, shifted.accuracy, shifted.kl], dim=-1)
        n_losses = losses.shape[-1]
        layers = torch.stack([getattr(statistics, name) for name in LAYER_FIELDS], dim=-1).flatten(1)
        head = torch.stack([getattr(statistics, name) for name in HEAD_FIELDS], dim=-1)
        host = torch.cat([losses, bad[:, None].to(losses), head, layers], dim=-1).double().cpu().numpy()
        diverged = host[:, n_losses] > 0
        if diverged.any():  # its past gradients would make an optimizee's next update diverge too
            for buffer in self.state.values():
                buffer[torch.as_tensor(diverged, device=self.device)] = 0
        train_ce, train_kl, val_ce, val_kl, val_accuracy, shifted_accuracy, shifted_kl = host[:, :n_losses].T
        n_before = n_losses + 1 + len(HEAD_FIELDS)
        per_layer = host[:, n_before:].reshape(self.n, self.n_layers, len(LAYER_FIELDS))
        target = np.full(self.n, np.nan)
        if self.config.reward == "target_oracle":
            target = self.evaluate("target").accuracy.double().cpu().numpy()
        return Window(
            layers={name: per_layer[..., k] for k, name in enumerate(LAYER_FIELDS)},
            head={name: host[:, n_losses + 1 + k] for k, name in enumerate(HEAD_FIELDS)},
            measurements=Measurements(
                train_ce, train_kl, val_ce, val_kl, val_accuracy, target, shifted_accuracy, shifted_kl
            ),
            diverged=diverged,
        )

    def get_state(self) -> dict[str, Any]:
        """See ``Optimizees``; with the rule's buffers and what the guidance term remembers."""
        rule = {name: buffer.cpu().clone() for name, buffer in self.state.items()}
        return {**super().get_state(), "rule": rule, "guidance": self.guidance.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """See ``Optimizees``."""
        super().set_state(state)
        for name, buffer in self.state.items():
            buffer.copy_(state["rule"][name])
        self.guidance.set_state(state["guidance"])

    @abstractmethod
    def _set_rates(self, rates: Tensor) -> None:
        """Sets the learning rates ``(N, n_layers)`` of the updates to come."""

    @abstractmethod
    def _gradients(self, index: Tensor, *, separate: bool) -> Gradients:
        """Gradients on the training images `index` ``(N, batch)``; with the guidance's own if `separate`."""

    @abstractmethod
    def _update(self, active: NDArray[np.bool_], mask: Tensor) -> None:
        """Clips the gradients and makes one update of the `active` optimizees ``(N,)`` by the rule.

        Args:
            active: Which optimizees, on the host.
            mask: The same on the device.
        """


def batch_order(n_images: int, config: EnvConfig, seed: int) -> Tensor:
    """Image indices of every update, ``(budget, batch_size)``: shuffled epochs, one after the other."""
    generator = new_generator(seed)
    wanted = config.budget * config.batch_size
    epochs = [torch.randperm(n_images, generator=generator) for _ in range(-(-wanted // n_images))]
    return torch.cat(epochs)[:wanted].view(config.budget, config.batch_size)
