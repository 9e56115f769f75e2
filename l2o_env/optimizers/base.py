"""What an inner optimizer is: one rule for a whole population at once, and the same as a ``torch.optim.Optimizer``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn


class Defaults(NamedTuple):
    """What settings are where nobody gave them.

    Attributes:
        lr_min: Smallest learning rate that an action can set.
        lr_max: Largest.
        base_lr: Rate at the start of an episode.
        weight_decay: Weight decay.
        beta2: Decay of the second buffer, or of the first where the update uses another mixture; None where there is
            no such thing.
    """

    lr_min: float
    lr_max: float
    base_lr: float
    weight_decay: float
    beta2: float | None = None


class UpdateRule(ABC):
    """How gradients and learning rates become new weights.

    A stacked population calls :meth:`step` on all of its weights; a looped one gives each network the
    :meth:`optimizer`, whose buffers :meth:`share` lays into the same tensors. Both go the same way, to rounding.

    Args:
        momentum: Decay of the running sum or mean of gradients.
        weight_decay: Weight decay.
        beta2: See ``Defaults``.
    """

    name: ClassVar[str]
    """As the setting ``optimizer`` names it."""
    defaults: ClassVar[Defaults]
    """Rates and decay that suit it."""
    buffers: ClassVar[tuple[str, ...]]
    """What it keeps of past gradients, a number for each weight; the names are those of the optimizer's state."""
    momentum_buffer: ClassVar[str]
    """Which of them is the running sum or mean of gradients that the statistic ``alignment`` compares with."""
    counts_updates: ClassVar[bool] = False
    """Whether it also keeps the number of updates, as ``step``."""

    def __init__(self, momentum: float, weight_decay: float, beta2: float | None = None) -> None:
        self.momentum, self.weight_decay = momentum, weight_decay
        self.beta2 = 0.0 if beta2 is None else beta2

    def new_state(self, weights: Tensor, n_parameters: int) -> dict[str, Tensor]:
        """The buffers before the first update: zeros, ``(N, n_weights)`` each; ``step`` is ``(N, n_parameters)``.

        Args:
            weights: ``(N, n_weights)``.
            n_parameters: Parameters (tensors) that the weights of one network lie in.
        """
        state = {name: torch.zeros_like(weights) for name in self.buffers}
        if self.counts_updates:  # torch.optim counts for each parameter
            state["step"] = weights.new_zeros(len(weights), n_parameters)
        return state

    @abstractmethod
    def step(self, weights: Tensor, gradient: Tensor, rates: Tensor, state: Mapping[str, Tensor]) -> None:
        """Makes one update of N optimizees, in place.

        Args:
            weights: ``(N, n_weights)``, like the two that follow.
            gradient: Gradient of the training loss, clipped; it may be overwritten.
            rates: Learning rate of each weight.
            state: What :meth:`new_state` made.
        """

    @abstractmethod
    def optimizer(self, groups: Sequence[dict[str, Any]], *, fused: bool) -> torch.optim.Optimizer:
        """The rule as an optimizer of one network.

        Args:
            groups: Parameter groups, as ``torch.optim`` takes them.
            fused: Whether one kernel launch may update all parameters of a group.
        """

    def share(
        self,
        optimizer: torch.optim.Optimizer,
        params: Sequence[nn.Parameter],
        views: Mapping[str, Sequence[Tensor]],
    ) -> None:
        """Lets an optimizer keep its state in tensors of the population.

        Args:
            optimizer: What :meth:`optimizer` returned.
            params: Its parameters.
            views: By name of what :meth:`new_state` made, the part of each parameter.
        """
        for name, tensors in views.items():
            for p, tensor in zip(params, tensors, strict=True):
                optimizer.state[p][name] = tensor
