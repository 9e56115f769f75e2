"""What all kernels share: how activations are stored, and how a kernel is compiled.

Activations are stored ``(y, x, channel, sample)`` for a tile of ``TILE`` samples, at some place of one flat array of
floats, the buffers. All arithmetic is on vectors of samples, so no shape of a network has to fit the width of the
registers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

TILE = 16
"""Samples computed together. A batch is filled up to a multiple of it with samples that weigh nothing."""

CHANNELS = 4
"""Channels convolved together: at two AVX registers each, as many accumulators as hide the latency of an FMA."""


def padded(n: int, multiple: int = CHANNELS) -> int:
    """The next multiple from `n` on, as numbers of channels are stored; channels that only fill up stay zero."""
    return -(-n // multiple) * multiple


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function into its callers. Dividing by zero gives infinity, as in NumPy, and raises nothing."""
    return numba.njit(error_model="numpy")(function)
