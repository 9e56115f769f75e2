"""Prodigy: AdamW that finds its rate (Mishchenko & Defazio, ICML 2024)."""

from __future__ import annotations

import torch
from torch import Tensor

from l2o_env.optimizers.base import Defaults, State, UpdateRule

EPSILON = 1e-8
D0 = 1e-6
"""First estimate of the distance to the solution."""


class Prodigy(UpdateRule):
    """AdamW with the rate lr · d, d being a growing estimate of the distance from the start to a solution.

    As ``prodigyopt.Prodigy`` does it with decoupled decay. β₁ is the setting ``momentum``.
    """

    name = "prodigy"
    defaults = Defaults(lr_min=0.03, lr_max=30.0, base_lr=1.0, weight_decay=0.01, beta2=0.999)
    buffers = ("exp_avg", "exp_avg_sq", "s", "p0")
    momentum_buffer = "exp_avg"
    one_rate = True

    def new_state(self, weights: Tensor, n_parameters: int) -> dict[str, Tensor]:
        """See ``UpdateRule``; beside the buffers three numbers of each optimizee."""
        scalars = {name: weights.new_zeros(len(weights), 1) for name in ("step", "d", "d_numerator")}
        return {**super().new_state(weights, n_parameters), **scalars}

    def step(self, weights: Tensor, gradient: Tensor, rates: Tensor, state: State) -> None:
        """See ``UpdateRule``."""
        mean, square, s, p0 = (state[name] for name in self.buffers)
        steps, d, numerator = (state[name] for name in ("step", "d", "d_numerator"))
        first, rate, beta3 = steps == 0, rates[:, :1], self.beta2**0.5
        p0.copy_(torch.where(first, weights, p0))
        d.copy_(torch.where(first, D0, d))
        steps += 1
        size, moves = d * rate, rate > 0
        # How far gradients agree with the way that was gone, beside how large they are: a lower bound of the distance.
        agreed = (d / D0) * size * (gradient * (p0 - weights)).sum(-1, keepdim=True)
        numerator.mul_(beta3).add_(agreed)
        mean.copy_(torch.where(moves, self.momentum * mean + (1 - self.momentum) * d * gradient, mean))
        square.copy_(torch.where(moves, self.beta2 * square + (1 - self.beta2) * (d * gradient).square(), square))
        s.copy_(torch.where(moves, beta3 * s + (d / D0) * size * gradient, s))
        found = numerator / s.abs().sum(-1, keepdim=True).clamp(min=torch.finfo(s.dtype).tiny)
        d.copy_(torch.where(moves, torch.maximum(d, found), d))
        weights.mul_(1 - self.weight_decay * size)
        weights.sub_(size * mean / (square.sqrt() + d * EPSILON))
