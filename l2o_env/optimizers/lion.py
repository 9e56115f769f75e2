"""Lion (Chen et al., "Symbolic Discovery of Optimization Algorithms", NeurIPS 2023)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from l2o_env.optimizers.base import Defaults, UpdateRule


class Lion(UpdateRule):
    """θ ← (1 − lr wd) θ − lr sign(β₁ m + (1 − β₁) g); m ← β₂ m + (1 − β₂) g.

    Every weight moves by its rate, whatever its gradient, so rates are smaller and the decay larger than AdamW's. β₁ is
    the setting ``momentum``.
    """

    name = "lion"
    defaults = Defaults(lr_min=1e-6, lr_max=3e-3, base_lr=1e-4, weight_decay=0.1, beta2=0.99)
    buffers = ("exp_avg",)
    momentum_buffer = "exp_avg"

    def step(self, weights: Tensor, gradient: Tensor, rates: Tensor, state: Mapping[str, Tensor]) -> None:
        """See ``UpdateRule``."""
        mean = state["exp_avg"]
        direction = torch.lerp(mean, gradient, 1 - self.momentum).sign_()
        weights.mul_(1 - rates * self.weight_decay).addcmul_(rates, direction, value=-1)
        mean.lerp_(gradient, 1 - self.beta2)

    def optimizer(self, groups: Sequence[dict[str, Any]], *, fused: bool) -> torch.optim.Optimizer:
        """See ``UpdateRule``; all parameters of a group in a few launches, where PyTorch has them."""
        return LionOptimizer(groups, betas=(self.momentum, self.beta2), weight_decay=self.weight_decay)


class LionOptimizer(torch.optim.Optimizer):
    """:class:`Lion` as an optimizer; PyTorch has none.

    Args:
        params: Parameters or parameter groups, as ``torch.optim.AdamW`` takes them.
        lr: Learning rate.
        betas: β₁ and β₂.
        weight_decay: wd, decoupled.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Makes one update; there is no use for a closure."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            beta1, beta2 = group["betas"]
            gradients = [p.grad for p in params]
            means: list[Tensor] = []
            for p in params:
                state = self.state[p]
                if state.get("exp_avg") is None:
                    state["exp_avg"] = torch.zeros_like(p)
                means.append(state["exp_avg"])
            directions = torch._foreach_lerp(means, gradients, 1 - beta1)
            torch._foreach_sign_(directions)
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(params, directions, alpha=-group["lr"])
            torch._foreach_lerp_(means, gradients, 1 - beta2)
