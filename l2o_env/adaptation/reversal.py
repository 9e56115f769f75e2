"""Gradient reversal, and the discriminator of two domains that stands behind it."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from l2o_env.models.blocks import linear


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * gradients[0], None


def reverse(x: Tensor, factor: float = 1.0) -> Tensor:
    """The same numbers, whose gradient is multiplied by minus the factor (Ganin & Lempitsky, 2015)."""
    return _Reversal.apply(x, factor)  # type: ignore[no-untyped-call, no-any-return, unused-ignore]


def ramp(progress: float, end: float = 1.0) -> float:
    """The reversal's factor over a run: 0 at the start, almost `end` at the end."""
    return end * (2 / (1 + math.exp(-10 * progress)) - 1)


def discriminator(n_inputs: int, width: int, n_outputs: int = 1) -> nn.Sequential:
    """Two hidden layers, at most four times as wide as what goes in; not drawn yet.

    Published ones have batch normalisation; this one has none, so that it sees each image by itself.
    """
    width = min(width, 4 * n_inputs)
    layers = (linear(n_inputs, width), nn.ReLU(), linear(width, width), nn.ReLU(), linear(width, n_outputs))
    return nn.Sequential(*layers)


def domain_loss(of_source: Tensor, of_target: Tensor) -> Tensor:
    """Binary cross-entropy of logits ``(n, 1)`` and ``(m, 1)`` that say "source", mean over both domains alike."""
    yes = F.binary_cross_entropy_with_logits(of_source, torch.ones_like(of_source))
    no = F.binary_cross_entropy_with_logits(of_target, torch.zeros_like(of_target))
    return (yes + no) / 2
