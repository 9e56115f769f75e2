"""GroupNorm with the sum of a shortcut and ReLU, in one pass, and backward."""

from __future__ import annotations

from typing import NamedTuple

from l2o_env.models.kernels.simd import WIDE, add, fill, fma, load, masked, mul, relu, rsqrt, store, sub, total
from l2o_env.models.kernels.tiles import TILE, jit

GROUPS = 4
"""Groups of every GroupNorm."""

EPSILON = 1e-5
"""What every GroupNorm adds to the variance."""


class Norm(NamedTuple):
    """GroupNorm and ReLU of ``n`` channels with ``pixels`` pixels."""

    n: int
    pixels: int
    weight: int
    """Place of the gain ``(n,)`` and, after it, the shift ``(n,)``."""
    x: int
    """Place of the input, which the normalised input replaces."""
    y: int
    """Place of what is after the ReLU."""
    scale: int
    """Place of one over the standard deviation ``(GROUPS, TILE)``."""


@jit
def normalise(buffers, norm, beside):
    """GroupNorm, plus the shortcut at ``beside`` (none if negative), ReLU."""
    width = norm.n // GROUPS
    one = 1.0 / (width * norm.pixels)
    for group in range(GROUPS):
        for lane in range(0, TILE, WIDE):
            start = group * width * TILE + lane
            mean, variance = fill(0.0), fill(0.0)
            for p in range(norm.pixels):
                for c in range(width):
                    mean = add(mean, load(buffers, norm.x + start + (p * norm.n + c) * TILE))
            mean = mul(mean, fill(one))
            for p in range(norm.pixels):
                for c in range(width):
                    v = sub(load(buffers, norm.x + start + (p * norm.n + c) * TILE), mean)
                    variance = fma(v, v, variance)
            scale = rsqrt(fma(variance, fill(one), fill(EPSILON)))
            store(buffers, norm.scale + group * TILE + lane, scale)
            for c in range(width):
                gain = fill(buffers[norm.weight + group * width + c])
                shift = fill(buffers[norm.weight + norm.n + group * width + c])
                for p in range(norm.pixels):
                    at = start + (p * norm.n + c) * TILE
                    v = mul(sub(load(buffers, norm.x + at), mean), scale)
                    store(buffers, norm.x + at, v)
                    v = fma(v, gain, shift)
                    if beside >= 0:
                        v = add(v, load(buffers, beside + at))
                    store(buffers, norm.y + at, relu(v))


@jit
def normalise_backward(buffers, norm, dy, dx, gradient):
    """From the gradient after the ReLU, ``dy``, to that of the input, ``dx``; ``dy`` becomes that before the ReLU."""
    # With g = dy * gain and the normalised input x: dx = (g - mean(g) - x * mean(g * x)) / standard deviation.
    width = norm.n // GROUPS
    one = -1.0 / (width * norm.pixels)
    for group in range(GROUPS):
        for lane in range(0, TILE, WIDE):
            start = group * width * TILE + lane
            sum_g, sum_gx = fill(0.0), fill(0.0)
            for c in range(width):
                of_shift, of_gain = fill(0.0), fill(0.0)
                for p in range(norm.pixels):
                    at = start + (p * norm.n + c) * TILE
                    g = masked(load(buffers, norm.y + at), load(buffers, dy + at))
                    store(buffers, dy + at, g)
                    of_shift = add(of_shift, g)
                    of_gain = fma(g, load(buffers, norm.x + at), of_gain)
                place = norm.weight + group * width + c
                gradient[place] += total(of_gain)
                gradient[place + norm.n] += total(of_shift)
                gain = fill(buffers[place])
                sum_g, sum_gx = fma(gain, of_shift, sum_g), fma(gain, of_gain, sum_gx)
            scale = load(buffers, norm.scale + group * TILE + lane)
            sum_g, sum_gx = mul(sum_g, fill(one)), mul(sum_gx, fill(one))
            for c in range(width):
                gain = fill(buffers[norm.weight + group * width + c])
                for p in range(norm.pixels):
                    at = start + (p * norm.n + c) * TILE
                    g = fma(gain, load(buffers, dy + at), sum_g)
                    g = fma(sum_gx, load(buffers, norm.x + at), g)
                    store(buffers, dx + at, mul(g, scale))
