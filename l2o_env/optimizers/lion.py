"""Lion (Chen et al., "Symbolic Discovery of Optimization Algorithms", NeurIPS 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

from l2o_env.optimizers.base import Defaults, State, UpdateRule


class Lion(UpdateRule):
    """θ ← (1 − lr wd) θ − lr sign(β₁ m + (1 − β₁) g); m ← β₂ m + (1 − β₂) g.

    Every weight moves by its rate, whatever its gradient, so rates are smaller and the decay larger than AdamW's. β₁ is
    the setting ``momentum``.
    """

    name = "lion"
    defaults = Defaults(lr_min=1e-6, lr_max=3e-3, base_lr=1e-4, weight_decay=0.1, beta2=0.99)
    buffers = ("exp_avg",)
    momentum_buffer = "exp_avg"

    def step(self, weights: Tensor, gradient: Tensor, rates: Tensor, state: State) -> None:
        """See ``UpdateRule``."""
        mean = state["exp_avg"]
        direction = torch.lerp(mean, gradient, 1 - self.momentum).sign_()
        weights.mul_(1 - rates * self.weight_decay).addcmul_(rates, direction, value=-1)
        mean.lerp_(gradient, 1 - self.beta2)
