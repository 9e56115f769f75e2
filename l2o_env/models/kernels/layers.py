"""What is small: biases, the mask of a ReLU, and the mean over an image."""

from __future__ import annotations

import numpy as np

from l2o_env.models.kernels.simd import WIDE, add, fill, load, masked, mul, store, total
from l2o_env.models.kernels.tiles import TILE, jit


@jit
def add_bias(buffers, y, bias, n, relu):
    """Adds a bias ``(n,)`` to every sample, and cuts off what is negative if ``relu``."""
    for o in range(n):
        for b in range(TILE):
            v = buffers[y + o * TILE + b] + buffers[bias + o]
            buffers[y + o * TILE + b] = np.float32(0.0) if relu and v < 0 else v


@jit
def bias_gradient(buffers, dy, bias, n, gradient):
    """Adds to ``gradient`` that of a bias: sums over the samples."""
    for o in range(n):
        for lane in range(0, TILE, WIDE):
            gradient[bias + o] += total(load(buffers, dy + o * TILE + lane))


@jit
def mask(buffers, y, dy, n):
    """The gradient before a ReLU, in place of that after it at ``dy``; ``y`` is what came out of it."""
    for i in range(0, n * TILE, WIDE):
        store(buffers, dy + i, masked(load(buffers, y + i), load(buffers, dy + i)))


@jit
def mean(buffers, x, y, pixels, n):
    """The mean over the pixels of each channel."""
    for i in range(0, n * TILE, WIDE):
        v = fill(0.0)
        for p in range(pixels):
            v = add(v, load(buffers, x + p * n * TILE + i))
        store(buffers, y + i, mul(v, fill(1.0 / pixels)))


@jit
def mean_backward(buffers, dy, dx, pixels, n):
    """The gradient of every pixel from that of the mean."""
    for i in range(0, n * TILE, WIDE):
        v = mul(load(buffers, dy + i), fill(1.0 / pixels))
        for p in range(pixels):
            store(buffers, dx + p * n * TILE + i, v)
