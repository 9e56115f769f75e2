"""The update rule of the released ASG code for classification."""

from __future__ import annotations

from torch import Tensor

from l2o_env.optimizers.base import Defaults, State, UpdateRule


class RateInMomentum(UpdateRule):
    """v ← ρ v + lr (g + wd θ); θ ← θ − v.

    SGD multiplies by the rate after the buffer. As long as a rate stays as it is, both go the same way; here a rate of
    0 does not stop a layer at once, and a new rate acts on new gradients alone.
    """

    name = "rate_in_momentum"
    defaults = Defaults(lr_min=1e-4, lr_max=0.3, base_lr=0.02, weight_decay=5e-4)
    buffers = ("momentum_buffer",)
    momentum_buffer = "momentum_buffer"

    def step(self, weights: Tensor, gradient: Tensor, rates: Tensor, state: State) -> None:
        """See ``UpdateRule``."""
        velocity = state["momentum_buffer"]
        gradient.add_(weights, alpha=self.weight_decay).mul_(rates)
        velocity.mul_(self.momentum).add_(gradient)
        weights.sub_(velocity)
