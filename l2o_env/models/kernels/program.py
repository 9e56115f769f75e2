"""Compiled CPU kernels for small residual networks, and the one compiled function that runs a program of them.

PyTorch reaches a tenth of what the processor can do on networks of a few thousand weights. How it is done here:

- Activations are stored ``(y, x, channel, sample)`` for a tile of ``TILE`` samples. All arithmetic is on vectors of
  samples, so no shape of a network has to fit the width of the registers.
- A convolution accumulates four channels of an output pixel in registers. Along a row of the kernel, inputs and
  (repacked) weights are contiguous. Taps that fall outside of the image are never visited.
- Everything is at some place in one flat array of floats, the buffers: first the weights, then the rest.
- A network is a *program*: rows of integers, each an operation and its operands. So every kernel is compiled once.

The first call compiles, once per machine: Numba caches on disk, beside this file or, where that is not writable, in the
user's cache folder (or in ``NUMBA_CACHE_DIR``). It looks at the contents of this file alone: after a change of
``simd``, count ``SIMD_VERSION`` up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

from l2o_env.models.kernels import simd

SIMD_VERSION = 1
"""Version of what ``simd`` generates, so that kernels compiled with another one are not taken from the cache."""

TILE = 16
"""Samples computed together. A batch is filled up to a multiple of it with samples that weigh nothing."""

CHANNELS = 4
"""Channels convolved together: at two AVX registers each, as many accumulators as hide the latency of an FMA."""

GROUPS = 4
"""Groups of every GroupNorm."""

EPSILON = 1e-5
"""What every GroupNorm adds to the variance."""

WIDTH = 16
"""Columns of a program: the operation, and its operands."""

_load, _store, _fill, _spread, _fma = simd.load, simd.store, simd.fill, simd.spread, simd.fma
_add, _sub, _mul, _total = simd.add, simd.sub, simd.mul, simd.total

(PACK, CONVOLVE, WEIGHT_GRADIENT, NORMALISE, NORMALISE_BACKWARD, BIAS, BIAS_GRADIENT, MASK, MEAN, MEAN_BACKWARD,
 CROSS_ENTROPY, DIVERGENCE, LOGITS) = range(13)  # fmt: skip
"""Operations. Their operands are those of the functions below."""


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


def _jit(function: Callable[..., Any]) -> Callable[..., Any]:
    return numba.njit(error_model="numpy")(function)


def _entry(function: Callable[..., Any]) -> Callable[..., Any]:
    return numba.njit(error_model="numpy", nogil=True, cache=True)(function)


# --- convolution -----------------------------------------------------------------------------------------------------


@_jit
def _slot(tap, conv):
    """Where a tap is stored for the backward pass, such that those that meet one pixel are neighbours, in its order."""
    if conv.stride == 1:
        return conv.kernel - 1 - tap
    return (tap + 1) % conv.kernel


@_jit
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


@_jit
def _pack(buffers, conv):
    """Repacks weights: ``(out // 4, ky, kx, in, 4)``, and for the backward pass with in and out exchanged."""
    k, taps = conv.kernel, conv.kernel**2
    for block in range(0, conv.n_in, CHANNELS):  # in blocks, for the sake of the cache
        for o in range(conv.real_out):  # the padding stays what buffers are at first: zero
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


@_jit
def _convolve(buffers, conv, x, y, transposed, add):
    """Convolves ``x`` to ``y``, or the gradient of the output to that of the input; ``add`` adds to what is there."""
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
                for part in range(0, TILE, simd.WIDE):
                    at = out + part
                    a0, a1, a2, a3 = _fill(0.0), _fill(0.0), _fill(0.0), _fill(0.0)
                    if add:
                        a0, a1 = _load(buffers, at), _load(buffers, at + TILE)
                        a2, a3 = _load(buffers, at + 2 * TILE), _load(buffers, at + 3 * TILE)
                    for j in range(ny):
                        i = x + ((iy + j) * size + ix) * n_in * TILE + part
                        w = packed + ((o // CHANNELS * k + sy + j) * k + sx) * n_in * CHANNELS
                        for _ in range(nx * n_in):
                            v = _load(buffers, i)
                            a0 = _fma(v, _spread(buffers, w), a0)
                            a1 = _fma(v, _spread(buffers, w + 1), a1)
                            a2 = _fma(v, _spread(buffers, w + 2), a2)
                            a3 = _fma(v, _spread(buffers, w + 3), a3)
                            i += TILE
                            w += CHANNELS
                    _store(buffers, at, a0)
                    _store(buffers, at + TILE, a1)
                    _store(buffers, at + 2 * TILE, a2)
                    _store(buffers, at + 3 * TILE, a3)


@_jit
def _add_column(gradient, at, step, count, a0, a1, a2, a3):
    gradient[at] += _total(a0)
    if count > 1:
        gradient[at + step] += _total(a1)
    if count > 2:
        gradient[at + 2 * step] += _total(a2)
    if count > 3:
        gradient[at + 3 * step] += _total(a3)


@_jit
def _weight_gradient(buffers, conv, x, dy, gradient):
    """Adds to ``gradient`` that of the weights: dot products of inputs and output gradients over pixels and samples."""
    k, n_in, n_out = conv.kernel, conv.n_in, conv.n_out
    load, fma = simd.load_narrow, _fma
    for o in range(0, n_out, CHANNELS):
        for c in range(0, n_in, 2):
            for ky in range(k):
                for kx in range(k):
                    # The outputs whose tap is inside the image.
                    y0, x0 = int(ky < k // 2), int(kx < k // 2)
                    y1 = min(conv.out_size, (conv.size - 1 + k // 2 - ky) // conv.stride + 1)
                    x1 = min(conv.out_size, (conv.size - 1 + k // 2 - kx) // conv.stride + 1)
                    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = simd.fill_narrow(0.0)
                    for oy in range(y0, y1):
                        d = dy + ((oy * conv.out_size + x0) * n_out + o) * TILE
                        iy, ix = oy * conv.stride + ky - k // 2, x0 * conv.stride + kx - k // 2
                        i = x + ((iy * conv.size + ix) * n_in + c) * TILE
                        for _ in range(x0, x1):
                            for part in range(0, TILE, simd.NARROW):
                                v, u = load(buffers, i + part), load(buffers, i + TILE + part)
                                g = load(buffers, d + part)
                                a0, b0 = fma(v, g, a0), fma(u, g, b0)
                                g = load(buffers, d + TILE + part)
                                a1, b1 = fma(v, g, a1), fma(u, g, b1)
                                g = load(buffers, d + 2 * TILE + part)
                                a2, b2 = fma(v, g, a2), fma(u, g, b2)
                                g = load(buffers, d + 3 * TILE + part)
                                a3, b3 = fma(v, g, a3), fma(u, g, b3)
                            i += conv.stride * n_in * TILE
                            d += n_out * TILE
                    at, step = conv.weight + ((o * conv.real_in + c) * k + ky) * k + kx, conv.real_in * k * k
                    if c < conv.real_in:
                        _add_column(gradient, at, step, conv.real_out - o, a0, a1, a2, a3)
                    if c + 1 < conv.real_in:
                        _add_column(gradient, at + k * k, step, conv.real_out - o, b0, b1, b2, b3)


# --- normalisation ---------------------------------------------------------------------------------------------------


@_jit
def _normalise(buffers, norm, beside):
    """GroupNorm, plus the shortcut at ``beside`` (none if negative), ReLU."""
    width = norm.n // GROUPS
    one = 1.0 / (width * norm.pixels)
    for group in range(GROUPS):
        for part in range(0, TILE, simd.WIDE):
            start = group * width * TILE + part
            mean, variance = _fill(0.0), _fill(0.0)
            for p in range(norm.pixels):
                for c in range(width):
                    mean = _add(mean, _load(buffers, norm.x + start + (p * norm.n + c) * TILE))
            mean = _mul(mean, _fill(one))
            for p in range(norm.pixels):
                for c in range(width):
                    v = _sub(_load(buffers, norm.x + start + (p * norm.n + c) * TILE), mean)
                    variance = _fma(v, v, variance)
            scale = simd.rsqrt(_fma(variance, _fill(one), _fill(EPSILON)))
            _store(buffers, norm.scale + group * TILE + part, scale)
            for c in range(width):
                gain = _fill(buffers[norm.weight + group * width + c])
                shift = _fill(buffers[norm.weight + norm.n + group * width + c])
                for p in range(norm.pixels):
                    at = start + (p * norm.n + c) * TILE
                    v = _mul(_sub(_load(buffers, norm.x + at), mean), scale)
                    _store(buffers, norm.x + at, v)
                    v = _fma(v, gain, shift)
                    if beside >= 0:
                        v = _add(v, _load(buffers, beside + at))
                    _store(buffers, norm.y + at, simd.relu(v))


@_jit
def _normalise_backward(buffers, norm, dy, dx, gradient):
    """From the gradient after the ReLU, ``dy``, to that of the input, ``dx``; ``dy`` becomes that before the ReLU."""
    width = norm.n // GROUPS
    one = -1.0 / (width * norm.pixels)
    for group in range(GROUPS):
        for part in range(0, TILE, simd.WIDE):
            start = group * width * TILE + part
            sum_g, sum_gx = _fill(0.0), _fill(0.0)
            for c in range(width):
                of_shift, of_gain = _fill(0.0), _fill(0.0)
                for p in range(norm.pixels):
                    at = start + (p * norm.n + c) * TILE
                    g = simd.masked(_load(buffers, norm.y + at), _load(buffers, dy + at))
                    _store(buffers, dy + at, g)
                    of_shift = _add(of_shift, g)
                    of_gain = _fma(g, _load(buffers, norm.x + at), of_gain)
                place = norm.weight + group * width + c
                gradient[place] += _total(of_gain)
                gradient[place + norm.n] += _total(of_shift)
                gain = _fill(buffers[place])
                sum_g, sum_gx = _fma(gain, of_shift, sum_g), _fma(gain, of_gain, sum_gx)
            scale = _load(buffers, norm.scale + group * TILE + part)
            sum_g, sum_gx = _mul(sum_g, _fill(one)), _mul(sum_gx, _fill(one))
            for c in range(width):
                gain = _fill(buffers[norm.weight + group * width + c])
                for p in range(norm.pixels):
                    at = start + (p * norm.n + c) * TILE
                    g = _fma(gain, _load(buffers, dy + at), sum_g)
                    g = _fma(sum_gx, _load(buffers, norm.x + at), g)
                    _store(buffers, dx + at, _mul(g, scale))


# --- the rest --------------------------------------------------------------------------------------------------------


@_jit
def _bias(buffers, y, bias, n, relu):
    for o in range(n):
        for b in range(TILE):
            v = buffers[y + o * TILE + b] + buffers[bias + o]
            buffers[y + o * TILE + b] = np.float32(0.0) if relu and v < 0 else v


@_jit
def _bias_gradient(buffers, dy, bias, n, gradient):
    for o in range(n):
        for part in range(0, TILE, simd.WIDE):
            gradient[bias + o] += _total(_load(buffers, dy + o * TILE + part))


@_jit
def _mask(buffers, y, dy, n):
    for i in range(0, n * TILE, simd.WIDE):
        _store(buffers, dy + i, simd.masked(_load(buffers, y + i), _load(buffers, dy + i)))


@_jit
def _mean(buffers, x, y, pixels, n):
    for i in range(0, n * TILE, simd.WIDE):
        v = _fill(0.0)
        for p in range(pixels):
            v = _add(v, _load(buffers, x + p * n * TILE + i))
        _store(buffers, y + i, _mul(v, _fill(1.0 / pixels)))


@_jit
def _mean_backward(buffers, dy, dx, pixels, n):
    for i in range(0, n * TILE, simd.WIDE):
        v = _mul(_load(buffers, dy + i), _fill(1.0 / pixels))
        for p in range(pixels):
            _store(buffers, dx + p * n * TILE + i, v)


@_jit
def _load_images(buffers, place, images, index, count):
    # Samples beyond ``count`` repeat the last one: a finite image, so that weight zero makes nothing of it.
    n_channels, size = images.shape[1], images.shape[2]
    padded = (n_channels + CHANNELS - 1) // CHANNELS * CHANNELS
    for b in range(TILE):
        image = index[min(b, count - 1)]
        for c in range(n_channels):
            for y in range(size):
                for x in range(size):
                    buffers[place + ((y * size + x) * padded + c) * TILE + b] = images[image, c, y, x]


@_jit
def _log_normaliser(buffers, logits, n, b):
    largest = buffers[logits + b]
    for o in range(1, n):
        largest = max(largest, buffers[logits + o * TILE + b])
    total = np.float32(0.0)
    for o in range(n):
        total += math.exp(buffers[logits + o * TILE + b] - largest)
    return largest + math.log(total)


@_jit
def _silence(buffers, d_logits, n, count):
    for o in range(n):
        for b in range(count, TILE):
            buffers[d_logits + o * TILE + b] = 0.0


@_jit
def _cross_entropy(buffers, logits, d_logits, n, labels, index, count, share):
    """The sum over the samples; its gradient times ``share`` goes to ``d_logits``."""
    loss = 0.0
    for b in range(count):
        label, norm = labels[index[b]], _log_normaliser(buffers, logits, n, b)
        loss += norm - buffers[logits + label * TILE + b]
        for o in range(n):
            q = math.exp(buffers[logits + o * TILE + b] - norm)
            buffers[d_logits + o * TILE + b] = share * (q - (o == label))
    _silence(buffers, d_logits, n, count)
    return loss


@_jit
def _divergence(buffers, logits, d_logits, n, probs, index, count, share):
    loss = 0.0
    for b in range(count):
        norm, mass = _log_normaliser(buffers, logits, n, b), 0.0
        for o in range(n):
            p = probs[index[b], o]
            mass += p
            if p > 0:  # 0 log 0 = 0
                loss += p * (math.log(p) - (buffers[logits + o * TILE + b] - norm))
        for o in range(n):
            q = math.exp(buffers[logits + o * TILE + b] - norm)
            buffers[d_logits + o * TILE + b] = share * (mass * q - probs[index[b], o])
    _silence(buffers, d_logits, n, count)
    return loss


@_entry
def run(
    program, n_once, buffers, image_place, weights, proxy_weight, proxy_bias, images, labels, probs, index, start, stop,
    guidance_weight, of_total, of_guidance, losses, logits, proxy_logits,
):  # fmt: skip
    """Runs a program on the samples ``start`` to ``stop`` of a batch, tile after tile. Types are exact.

    Args:
        program: ``(n_steps, WIDTH)`` int64.
        n_once: How many steps at the beginning are for the first tile only (repacking).
        buffers: Flat float32, as long as the program needs.
        image_place: Where the tile's images go, of size ``size * size * padded channels * TILE``.
        weights: Flat float32; goes to place 0.
        proxy_weight: Flat float32; goes after ``weights``.
        proxy_bias: ``(K,)`` float32; goes after ``proxy_weight``.
        images: ``(M, channels, size, size)`` float32.
        labels: ``(M,)`` int64.
        probs: ``(M, n_proxy_classes)`` float32.
        index: ``(B,)`` int64: which images are the batch.
        start: First sample.
        stop: One after the last sample.
        guidance_weight: Factor of the divergence in the total.
        of_total: ``(P,)`` float32: the gradient of the total. Added to.
        of_guidance: ``(P,)`` float32: the gradient of the divergence alone, if the program computes it. Added to.
        losses: ``(2,)`` float64: mean cross-entropy and divergence. Added to.
        logits: ``(B, n_classes)`` float32; written by the operation ``LOGITS``.
        proxy_logits: ``(B, n_proxy_classes)`` float32; the same.
    """
    place = 0
    for values in (weights, proxy_weight, proxy_bias):
        for value in values:
            buffers[place] = value
            place += 1
    share = 1.0 / index.shape[0]
    gradient = of_total
    for first in range(start, stop, TILE):
        count = min(TILE, stop - first)
        samples = index[first : first + count]
        _load_images(buffers, image_place, images, samples, count)
        for step in range(0 if first == start else n_once, program.shape[0]):
            o = program[step]
            conv = Conv(o[1], o[2], o[3], o[4], o[5], o[6], o[7], o[8], o[9], o[10], o[11])
            norm = Norm(o[1], o[2], o[3], o[4], o[5], o[6])
            if o[0] == PACK:
                _pack(buffers, conv)
            elif o[0] == CONVOLVE:
                _convolve(buffers, conv, o[12], o[13], o[14], o[15])
            elif o[0] == WEIGHT_GRADIENT:
                _weight_gradient(buffers, conv, o[12], o[13], gradient)
            elif o[0] == NORMALISE:
                _normalise(buffers, norm, o[7])
            elif o[0] == NORMALISE_BACKWARD:
                _normalise_backward(buffers, norm, o[7], o[8], gradient)
            elif o[0] == BIAS:
                _bias(buffers, o[1], o[2], o[3], o[4])
            elif o[0] == BIAS_GRADIENT:
                _bias_gradient(buffers, o[1], o[2], o[3], gradient)
            elif o[0] == MASK:
                _mask(buffers, o[1], o[2], o[3])
            elif o[0] == MEAN:
                _mean(buffers, o[1], o[2], o[3], o[4])
            elif o[0] == MEAN_BACKWARD:
                _mean_backward(buffers, o[1], o[2], o[3], o[4])
            elif o[0] == CROSS_ENTROPY:
                losses[0] += share * _cross_entropy(buffers, o[1], o[2], o[3], labels, samples, count, share)
            elif o[0] == DIVERGENCE:
                gradient, weight = (of_guidance, 1.0) if o[4] else (of_total, guidance_weight)
                kl = share * _divergence(buffers, o[1], o[2], o[3], probs, samples, count, share * weight)
                losses[1] += 0.0 if o[4] else kl
            elif o[0] == LOGITS:
                for b in range(count):
                    for i in range(logits.shape[1]):
                        logits[first + b, i] = buffers[o[1] + i * TILE + b]
                    for i in range(proxy_logits.shape[1]):
                        proxy_logits[first + b, i] = buffers[o[2] + i * TILE + b]
