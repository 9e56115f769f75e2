"""What an update rule is: the same rule for a whole population at once, and as an optimizer of one network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from l2o_env.config import EnvConfig


class Rule(ABC):
    """How gradients and learning rates become new weights.

    A stacked population calls :meth:`step` on all of its weights; a looped one gives each network the
    :meth:`optimizer`, whose buffers :meth:`share` lays into the same tensors. Both go the same way, to rounding.

    Args:
        config: Settings of the inner loop.
    """

    name: ClassVar[str]
    """As settings name it."""
    buffers: ClassVar[tuple[str, ...]]
    """What it keeps of past gradients, a number for each weight; the names are those of the optimizer's state."""
    momentum: ClassVar[str]
    """Which of them is the running sum or mean of gradients that the statistic ``alignment`` compares with."""

    def __init__(self, config: EnvConfig) -> None:
        self.config = config

    def new_state(self, weights: Tensor) -> dict[str, Tensor]:
        """The buffers before the first update: zeros, ``(N, n_weights)`` each.

        Args:
            weights: ``(N, n_weights)``.
        """
        return {name: torch.zeros_like(weights) for name in self.buffers}

    @abstractmethod
    def step(self, weights: Tensor, gradient: Tensor, rates: Tensor, state: Mapping[str, Tensor]) -> None:
        """Makes one update of N optimizees, in place.

        Args:
            weights: ``(N, n_weights)``, like all that follow.
            gradient: Gradient of the training loss, clipped; it may be overwritten.
            rates: Learning rate of each weight.
            state: The buffers by name.
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
        """Lets an optimizer keep its buffers in tensors of the population.

        Args:
            optimizer: What :meth:`optimizer` returned.
            params: Its parameters.
            views: By name of a buffer, the tensor of each parameter.
        """
        for name, tensors in views.items():
            for p, tensor in zip(params, tensors, strict=True):
                optimizer.state[p][name] = tensor
