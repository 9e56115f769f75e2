"""Convolutions: forward, backward, and the gradients of their weights.

A convolution accumulates four channels of an output pixel in registers. Along a row of the kernel, inputs and repacked
weights are contiguous. Taps that fall outside of the image are never visited.
"""

from __future__ import annotations

from typing import NamedTuple

from l2o_env.models.kernels.simd import (
    NARROW,
    WIDE,
    fill,
    fill_narrow,
    fma,
    load,
    load_narrow,
    spread,
    store,
    total,
)
from l2o_env.models.kernels.tiles import CHANNELS, TILE, jit


class Conv(NamedTuple):
    """A convolution with padding ``kernel // 2``; a linear layer is one of a single pixel.

    The numbers of channels are padded to a multiple of ``CHANNELS``; those called real are not.
    """

    n_in: int
    n_out: int
    size: int
    out_size: int
    kernel: int
    stride: int
    real_in: int
    real_out: int
    weight: int
    """Place of the weights ``(real_out, real_in, kernel, kernel)``."""
    packed: int
    """Place of the repacked weights for the forward pass, of size ``n_out * n_in * kernel**2``."""
    transposed: int
    """The same for the backward pass."""


@jit
def _slot(tap, conv):
    """Where a tap is stored for the backward pass, such that those that meet one pixel are neighbours, in its order."""
    if conv.stride == 1:
        return conv.kernel - 1 - tap
    return (tap + 1) % conv.kernel


@jit
def _taps(i, conv, transposed):
    """Along one axis, for output ``i``: the first input that it meets, the slot of its weight, and how many follow."""
    if transposed and conv.stride == 2:
        if conv.kernel == 1:
            return i // 2, 0, 1 - i % 2
        if i % 2 == 0:
            return i // 2, 2, 1
        return i // 2, 0, min(2, conv.out_size - i // 2)
    start = i * conv.stride - conv.kernel // 2
    first = max(0, -start)
    return start + first, first, min(conv.kernel, conv.size - start) - first


@jit
def pack(buffers, conv):
    """Repacks weights: ``(out // 4, ky, kx, in, 4)``, and for the backward pass with in and out exchanged."""
    k, taps = conv.kernel, conv.kernel**2
    for block in range(0, conv.n_in, CHANNELS):  # in blocks, for the sake of the processor's cache
        for o in range(conv.real_out):  # padded channels stay what buffers are at first: zero
            for c in range(block, min(block + CHANNELS, conv.real_in)):
                place = conv.weight + (o * conv.real_in + c) * taps
                there = conv.packed + (o // CHANNELS * taps * conv.n_in + c) * CHANNELS + o % CHANNELS
                back = conv.transposed + (block // CHANNELS * taps * conv.n_out + o) * CHANNELS + c - block
                for ky in range(k):
                    for kx in range(k):
                        value = buffers[place]
                        buffers[there] = value
                        buffers[back + (_slot(ky, conv) * k + _slot(kx, conv)) * conv.n_out * CHANNELS] = value
                        there += conv.n_in * CHANNELS
                        place += 1


@jit
def convolve(buffers, conv, x, y, transposed, accumulate):
    """Convolves ``x`` to ``y``, or (``transposed``) the gradient of the output to that of the input.

    ``accumulate`` adds to what is at ``y``.
    """
    n_in, n_out, size, out_size, packed = conv.n_in, conv.n_out, conv.size, conv.out_size, conv.packed
    if transposed:
        n_in, n_out, size, out_size, packed = n_out, n_in, out_size, size, conv.transposed
    k = conv.kernel
    for o in range(0, n_out, CHANNELS):
        for oy in range(out_size):
            iy, sy, ny = _taps(oy, conv, transposed)
            for ox in range(out_size):
                ix, sx, nx = _taps(ox, conv, transposed)
                out = y + ((oy * out_size + ox) * n_out + o) * TILE
                for lane in range(0, TILE, WIDE):
                    at = out + lane
                    a0, a1, a2, a3 = fill(0.0), fill(0.0), fill(0.0), fill(0.0)
                    if accumulate:
                        a0, a1 = load(buffers, at), load(buffers, at + TILE)
                        a2, a3 = load(buffers, at + 2 * TILE), load(buffers, at + 3 * TILE)
                    for j in range(ny):
                        i = x + ((iy + j) * size + ix) * n_in * TILE + lane
                        w = packed + ((o // CHANNELS * k + sy + j) * k + sx) * n_in * CHANNELS
                        for _ in range(nx * n_in):
                            v = load(buffers, i)
                            a0 = fma(v, spread(buffers, w), a0)
                            a1 = fma(v, spread(buffers, w + 1), a1)
                            a2 = fma(v, spread(buffers, w + 2), a2)
                            a3 = fma(v, spread(buffers, w + 3), a3)
                            i += TILE
                            w += CHANNELS
                    store(buffers, at, a0)
                    store(buffers, at + TILE, a1)
                    store(buffers, at + 2 * TILE, a2)
                    store(buffers, at + 3 * TILE, a3)


@jit
def _add_column(gradient, at, step, count, a0, a1, a2, a3):
    """Adds the sums of up to four output channels; those that only fill up have no place in the gradient."""
    gradient[at] += total(a0)
    if count > 1:
        gradient[at + step] += total(a1)
    if count > 2:
        gradient[at + 2 * step] += total(a2)
    if count > 3:
        gradient[at + 3 * step] += total(a3)


@jit
def weight_gradient(buffers, conv, x, dy, gradient):
    """Adds to ``gradient`` that of the weights: dot products of inputs and output gradients over pixels and samples."""
    k, n_in, n_out = conv.kernel, conv.n_in, conv.n_out
    for o in range(0, n_out, CHANNELS):
        for c in range(0, n_in, 2):
            for ky in range(k):
                for kx in range(k):
                    # The outputs whose tap is inside the image.
                    y0, x0 = int(ky < k // 2), int(kx < k // 2)
                    y1 = min(conv.out_size, (conv.size - 1 + k // 2 - ky) // conv.stride + 1)
                    x1 = min(conv.out_size, (conv.size - 1 + k // 2 - kx) // conv.stride + 1)
                    # Four output channels by two input channels, for which the registers are enough if narrow.
                    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = fill_narrow(0.0)
                    for oy in range(y0, y1):
                        d = dy + ((oy * conv.out_size + x0) * n_out + o) * TILE
                        iy, ix = oy * conv.stride + ky - k // 2, x0 * conv.stride + kx - k // 2
                        i = x + ((iy * conv.size + ix) * n_in + c) * TILE
                        for _ in range(x0, x1):
                            for lane in range(0, TILE, NARROW):
                                v, u = load_narrow(buffers, i + lane), load_narrow(buffers, i + TILE + lane)
                                g = load_narrow(buffers, d + lane)
                                a0, b0 = fma(v, g, a0), fma(u, g, b0)
                                g = load_narrow(buffers, d + TILE + lane)
                                a1, b1 = fma(v, g, a1), fma(u, g, b1)
                                g = load_narrow(buffers, d + 2 * TILE + lane)
                                a2, b2 = fma(v, g, a2), fma(u, g, b2)
                                g = load_narrow(buffers, d + 3 * TILE + lane)
                                a3, b3 = fma(v, g, a3), fma(u, g, b3)
                            i += conv.stride * n_in * TILE
                            d += n_out * TILE
                    at, step = conv.weight + ((o * conv.real_in + c) * k + ky) * k + kx, conv.real_in * k * k
                    if c < conv.real_in:
                        _add_column(gradient, at, step, conv.real_out - o, a0, a1, a2, a3)
                    if c + 1 < conv.real_in:
                        _add_column(gradient, at + k * k, step, conv.real_out - o, b0, b1, b2, b3)
