"""One update of a stacked population: clipping, and the rule on those that are to be updated."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from l2o_env.optimizers import UpdateRule

_TINY = 1e-6
"""As ``torch.nn.utils.clip_grad_norm_`` has it."""


def clipped(gradient: Tensor, max_norm: float | None) -> Tensor:
    """Gradients ``(N, n_weights)`` of which none has a norm above `max_norm`; None leaves them as they are."""
    if max_norm is None:
        return gradient
    norm = gradient.square().sum(-1, keepdim=True).sqrt()
    return gradient * (max_norm / (norm + _TINY)).clamp(max=1)


def masked_step(
    rule: UpdateRule, weights: Tensor, gradient: Tensor, rates: Tensor, state: Mapping[str, Tensor], rows: Tensor
) -> None:
    """``rule.step`` of the optimizees in `rows` ``(N, 1)`` alone, in place.

    By the operations of the step of all, so that an optimizee goes the same way, bit for bit, whatever the others do;
    and without asking the device which rows they are.
    """
    new_weights, new_state = weights.clone(), {name: tensor.clone() for name, tensor in state.items()}
    rule.step(new_weights, gradient, rates, new_state)
    weights.copy_(torch.where(rows, new_weights, weights))
    for name, tensor in state.items():
        tensor.copy_(torch.where(rows, new_state[name], tensor))
