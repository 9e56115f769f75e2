"""AdamW without a schedule (Defazio et al., "The Road Less Scheduled", NeurIPS 2024)."""

from __future__ import annotations

import torch
from torch import Tensor

from l2o_env.optimizers.base import Defaults, State, UpdateRule

EPSILON = 1e-8


class ScheduleFree(UpdateRule):
    """z ← z − lr u; x ← (1 − c) x + c z; gradients are taken at y = (1 − β₁) z + β₁ x, and x is judged.

    u is Adam's step from y (no running mean of gradients), with decoupled decay; c weights each z by the square of the
    largest rate so far. β₁ is the setting ``momentum``. As ``schedulefree.AdamWScheduleFree`` does it; its warm-up is
    that of the rates.
    """

    name = "schedule_free"
    defaults = Defaults(lr_min=1e-5, lr_max=3e-2, base_lr=2.5e-3, weight_decay=0.01, beta2=0.999)
    buffers = ("exp_avg_sq", "z")
    momentum_buffer = None
    one_rate = True

    def new_state(self, weights: Tensor, n_parameters: int) -> dict[str, Tensor]:
        """See ``UpdateRule``; beside the buffers three numbers of each optimizee."""
        scalars = {name: weights.new_zeros(len(weights), 1) for name in ("step", "weight_sum", "lr_max")}
        return {**super().new_state(weights, n_parameters), **scalars}

    def step(self, weights: Tensor, gradient: Tensor, rates: Tensor, state: State) -> None:
        """See ``UpdateRule``; the weights are y."""
        square, z, steps, total, largest = (state[k] for k in ("exp_avg_sq", "z", "step", "weight_sum", "lr_max"))
        z.copy_(torch.where(steps == 0, weights, z))  # it begins where y does
        steps += 1
        rate = rates[:, :1]
        largest.copy_(torch.maximum(largest, rate))
        total += largest**2
        share = torch.where(total > 0, largest**2 / total, 0.0)
        square.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        spread = (square / (1 - self.beta2**steps)).sqrt_().add_(EPSILON)
        gradient.div_(spread).add_(weights, alpha=self.weight_decay)
        weights.lerp_(z, share.expand_as(weights))
        weights.addcmul_(gradient, rate * (self.momentum * (1 - share) - 1))
        z.addcmul_(gradient, rate, value=-1)

    def to_train(self, weights: Tensor, state: State) -> None:
        """X to y, once there has been an update."""
        weights.copy_(torch.where(state["step"] > 0, weights.lerp(state["z"], 1 - self.momentum), weights))

    def to_judge(self, weights: Tensor, state: State) -> None:
        """Y to x."""
        weights.copy_(torch.where(state["step"] > 0, weights.lerp(state["z"], 1 - 1 / self.momentum), weights))
