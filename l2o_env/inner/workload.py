"""How much a network has to compute for a batch, and whether that is worth more than one thread."""

from __future__ import annotations

import math

import torch

from l2o_env.models.base import Optimizee
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.splits import Split

PARALLEL_FROM = 1e9
"""Floating-point operations of a forward pass from which several threads gain more than they lose by waiting for each
other: a network of 10,000 weights on 16 images of 64 pixels makes 5e7, a ResNet-18 on them 5e9."""


def operations(model: Optimizee, pair: Pair, batch_size: int) -> float:
    """Floating-point operations of a forward pass.

    Args:
        model: The network, without memory: on the device ``"meta"``.
        pair: Where its images come from.
        batch_size: How many of them.

    Returns:
        Their number; infinity if the network cannot be run without memory.
    """
    from torch.utils.flop_counter import FlopCounterMode

    split = pair.train
    if isinstance(split, Split):
        shape = tuple(split.images.shape[1:])
    else:
        shape = (3, split.side, split.side) if split.side else tuple(split.read(0).image.shape)
    counter = FlopCounterMode(display=False)
    try:
        with counter, torch.no_grad():
            model(torch.empty(batch_size, *shape, device="meta"))
    except (RuntimeError, NotImplementedError, ValueError, TypeError):  # a network of a user's own may do anything
        return math.inf
    return float(counter.get_total_flops())
