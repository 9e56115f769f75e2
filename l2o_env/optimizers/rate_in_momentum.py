"""The update rule of the released ASG code for classification."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from l2o_env.optimizers.base import Defaults, UpdateRule


class RateInMomentum(UpdateRule):
    """v ← ρ v + lr (g + wd θ); θ ← θ − v.

    SGD multiplies by the rate after the buffer. As long as a rate stays as it is, both go the same way; here a rate of
    0 does not stop a layer at once, and a new rate acts on new gradients alone.
    """

    name = "rate_in_momentum"
    defaults = Defaults(lr_min=1e-4, lr_max=0.3, base_lr=0.02, weight_decay=5e-4)
    buffers = ("momentum_buffer",)
    momentum_buffer = "momentum_buffer"

    def step(self, weights: Tensor, gradient: Tensor, rates: Tensor, state: Mapping[str, Tensor]) -> None:
        """See ``UpdateRule``."""
        velocity = state["momentum_buffer"]
        gradient.add_(weights, alpha=self.weight_decay).mul_(rates)
        velocity.mul_(self.momentum).add_(gradient)
        weights.sub_(velocity)

    def optimizer(self, groups: Sequence[dict[str, Any]], *, fused: bool) -> torch.optim.Optimizer:
        """See ``UpdateRule``; it has no fused form."""
        return RateInMomentumSGD(groups, momentum=self.momentum, weight_decay=self.weight_decay)


class RateInMomentumSGD(torch.optim.Optimizer):
    """:class:`RateInMomentum` as an optimizer.

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
