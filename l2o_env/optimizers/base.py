"""What an inner optimizer is: one rule for a whole population at once, or for one network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

State = Mapping[str, Tensor]
"""What a rule keeps, by name: ``(N, n_weights)`` for each weight, or ``(N, 1)`` and the like for each optimizee."""


class Defaults(NamedTuple):
    """What settings are where nobody gave them.

    Attributes:
        lr_min: Smallest learning rate that an action can set.
        lr_max: Largest.
        base_lr: Rate at the start of an episode.
        weight_decay: Weight decay.
        beta2: Decay of the running mean of squares, or of gradients where the update uses another mixture; None where
            there is no such thing.
    """

    lr_min: float
    lr_max: float
    base_lr: float
    weight_decay: float
    beta2: float | None = None


class UpdateRule(ABC):
    """How gradients and learning rates become new weights.

    :meth:`step` is all that a rule needs: a stacked population calls it on all of its weights, a looped one on those of
    one network and layer group after the other. Where ``torch.optim`` has the rule, :meth:`optimizer` gives a looped
    population that, so that an optimizee goes its way bit for bit.

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
    """What it keeps of the past, a number for each weight; zeros at the start."""
    momentum_buffer: ClassVar[str | None]
    """Which of them is the running sum or mean of gradients that the statistic ``alignment`` compares with."""
    one_rate: ClassVar[bool] = False
    """Whether it takes one learning rate for the whole network."""

    def __init__(self, momentum: float, weight_decay: float, beta2: float | None = None) -> None:
        self.momentum, self.weight_decay = momentum, weight_decay
        self.beta2 = 0.0 if beta2 is None else beta2

    def new_state(self, weights: Tensor, n_parameters: int) -> dict[str, Tensor]:
        """What is kept before the first update: zeros.

        Args:
            weights: ``(N, n_weights)``.
            n_parameters: Parameters (tensors) that the weights of one network lie in.
        """
        return {name: torch.zeros_like(weights) for name in self.buffers}

    @abstractmethod
    def step(self, weights: Tensor, gradient: Tensor, rates: Tensor, state: State) -> None:
        """Makes one update of N optimizees, in place.

        Args:
            weights: ``(N, n_weights)``.
            gradient: Gradient of the training loss, clipped, ``(N, n_weights)``; it may be overwritten.
            rates: Learning rate of each weight, ``(N, n_weights)`` or ``(N, 1)``.
            state: What :meth:`new_state` made, of these weights.
        """

    def optimizer(self, groups: Sequence[dict[str, Any]], *, fused: bool) -> torch.optim.Optimizer | None:
        """The rule as ``torch.optim`` has it, for one network; None where it does not.

        Args:
            groups: Parameter groups, as ``torch.optim`` takes them.
            fused: Whether one kernel launch may update all parameters of a group.
        """
        return None

    def share(
        self, optimizer: torch.optim.Optimizer, params: Sequence[nn.Parameter], views: Mapping[str, Sequence[Tensor]]
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

    def to_train(self, weights: Tensor, state: State) -> None:  # noqa: B027 - for most they are the same
        """Turns weights that networks are judged by into those that gradients are taken at, in place."""

    def to_judge(self, weights: Tensor, state: State) -> None:  # noqa: B027
        """Turns them back."""
