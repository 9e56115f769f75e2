"""The update rule of the released ASG code for classification."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class RateInMomentumSGD(torch.optim.Optimizer):
    """SGD with the rate inside the momentum buffer: v ← ρ v + lr (g + wd θ); θ ← θ − v.

    ``torch.optim.SGD`` multiplies by the rate after the buffer. As long as a rate stays as it is, both go the same
    way; here a rate of 0 does not stop a layer at once, and a new rate acts on new gradients alone.

    Args:
        params: Parameters or parameter groups, as ``torch.optim.SGD`` takes them.
        lr: Learning rate.
        momentum: ρ.
        weight_decay: wd.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 0.0, momentum: float = 0.9, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Makes one update; there is no use for a closure."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            gradients = [p.grad for p in params]
            buffers: list[Tensor] = []
            for p in params:
                state = self.state[p]
                if state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = torch.zeros_like(p)
                buffers.append(state["momentum_buffer"])
            torch._foreach_mul_(buffers, group["momentum"])
            decayed = torch._foreach_add(gradients, params, alpha=group["weight_decay"])
            torch._foreach_add_(buffers, decayed, alpha=group["lr"])
            torch._foreach_sub_(params, buffers)
