"""Stochastic gradient descent with momentum, as ``torch.optim.SGD`` has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from l2o_env.optimizers.base import Defaults, State, UpdateRule


class SGD(UpdateRule):
    """v ← ρ v + g + wd θ; θ ← θ − lr v."""

    name = "sgd"
    defaults = Defaults(lr_min=1e-4, lr_max=0.3, base_lr=0.02, weight_decay=5e-4)
    buffers = ("momentum_buffer",)
    momentum_buffer = "momentum_buffer"

    def step(self, weights: Tensor, gradient: Tensor, rates: Tensor, state: State) -> None:
        """See ``UpdateRule``."""
        velocity = state["momentum_buffer"]
        gradient.add_(weights, alpha=self.weight_decay)
        velocity.mul_(self.momentum).add_(gradient)
        weights.addcmul_(rates, velocity, value=-1)

    def optimizer(self, groups: Sequence[dict[str, Any]], *, fused: bool) -> torch.optim.Optimizer:
        """See ``UpdateRule``."""
        return torch.optim.SGD(groups, lr=0.0, momentum=self.momentum, weight_decay=self.weight_decay, fused=fused)
