"""Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019), as ``torch.optim.AdamW`` has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from l2o_env.optimizers.base import Defaults, State, UpdateRule

EPSILON = 1e-8
"""Keeps steps finite where gradients have been tiny; PyTorch's default."""


class AdamW(UpdateRule):
    """m ← β₁ m + (1 − β₁) g; s ← β₂ s + (1 − β₂) g²; θ ← (1 − lr wd) θ − lr m̂ / (√ŝ + ε).

    m̂ and ŝ are the means with the bias of their start at zero taken away. β₁ is the setting ``momentum``.
    """

    name = "adamw"
    defaults = Defaults(lr_min=1e-5, lr_max=3e-2, base_lr=1e-3, weight_decay=0.01, beta2=0.999)
    buffers = ("exp_avg", "exp_avg_sq")
    momentum_buffer = "exp_avg"

    def new_state(self, weights: Tensor, n_parameters: int) -> dict[str, Tensor]:
        """See ``UpdateRule``; also the updates so far, which ``torch.optim`` counts for each parameter."""
        return {**super().new_state(weights, n_parameters), "step": weights.new_zeros(len(weights), n_parameters)}

    def step(self, weights: Tensor, gradient: Tensor, rates: Tensor, state: State) -> None:
        """See ``UpdateRule``."""
        mean, square, steps = state["exp_avg"], state["exp_avg_sq"], state["step"]
        steps += 1
        updates = steps[:, :1]  # the same for all parameters of an optimizee
        weights.mul_(1 - rates * self.weight_decay)
        mean.lerp_(gradient, 1 - self.momentum)
        square.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        size = rates / (1 - self.momentum**updates)
        spread = (square.sqrt() / (1 - self.beta2**updates).sqrt()).add_(EPSILON)
        weights.sub_(size.mul_(mean).div_(spread))

    def optimizer(self, groups: Sequence[dict[str, Any]], *, fused: bool) -> torch.optim.Optimizer:
        """See ``UpdateRule``."""
        return torch.optim.AdamW(
            groups,
            lr=0.0,
            betas=(self.momentum, self.beta2),
            eps=EPSILON,
            weight_decay=self.weight_decay,
            fused=fused,
        )
