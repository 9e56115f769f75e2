"""Stochastic gradient descent with momentum, as ``torch.optim.SGD`` has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from l2o_env.inner.rules.base import Rule


class SGD(Rule):
    """v ← ρ v + g + wd θ; θ ← θ − lr v."""

    name = "sgd"
    buffers = ("momentum_buffer",)
    momentum = "momentum_buffer"

    def step(self, weights: Tensor, gradient: Tensor, rates: Tensor, state: Mapping[str, Tensor]) -> None:
        """See ``Rule``."""
        velocity = state["momentum_buffer"]
        gradient.add_(weights, alpha=self.config.weight_decay)
        velocity.mul_(self.config.momentum).add_(gradient)
        weights.addcmul_(rates, velocity, value=-1)

    def optimizer(self, groups: Sequence[dict[str, Any]], *, fused: bool) -> torch.optim.Optimizer:
        """See ``Rule``."""
        config = self.config
        return torch.optim.SGD(groups, lr=0.0, momentum=config.momentum, weight_decay=config.weight_decay, fused=fused)
