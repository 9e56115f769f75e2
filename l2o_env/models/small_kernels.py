"""Compiled CPU kernels of :class:`~l2o_env.models.small.SmallNet`: its gradients and its logits, without PyTorch.

The network is so small that PyTorch reaches a tenth of what the processor can do, and the inner loop trains many copies
of it. How it is built:

- Activations are stored ``(y, x, channel, sample)`` for a tile of ``TILE`` samples. All arithmetic is on vectors of
  samples, so no shape of the network has to fit the width of the registers.
- A convolution accumulates four channels of an output pixel in registers. Along a row of the kernel, inputs and
  (repacked) weights are contiguous. Taps that fall outside of the image are never visited.
- Every buffer is a place in one flat array of a thread, which is allocated once; places are counted in floats.
- The functions release the GIL, and threads take tiles of optimizees as jobs. Tiles are added up in a fixed order, so
  the result does not depend on the number of threads, which is PyTorch's (``torch.get_num_threads()``). No thread
  outlives a call and Numba's own thread pools are not used, so a process may fork or be spawned at any time.

Importing this module imports Numba. The first call compiles, once per machine: Numba caches on disk, beside this file or,
where that is not writable, in the user's cache folder (or in ``NUMBA_CACHE_DIR``).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from l2o_env.models import simd

TILE = 16
"""Samples computed together. A batch is filled up to a multiple of it with samples that weigh nothing."""

_FEATURES = 32
_GROUPS = 4
_EPS = 1e-5
_CHANNELS = 4  # convolved together: with two AVX registers each, as many accumulators as hide the latency of an FMA
_load, _store, _fill, _fma = simd.load, simd.store, simd.fill, simd.fma
_add, _sub, _mul, _total = simd.add, simd.sub, simd.mul, simd.total

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def _jit(function: Callable[..., Any]) -> Callable[..., Any]:
    return numba.njit(error_model="numpy")(function)  # type: ignore[no-any-return]


def _entry(function: Callable[..., Any]) -> Callable[..., Any]:
    # Numba looks at the stamp of this file alone, so everything that changes often has to be in it.
    return numba.njit(error_model="numpy", nogil=True, cache=True)(function)  # type: ignore[no-any-return]


# --- where everything is ---------------------------------------------------------------------------------------------


class _Conv(NamedTuple):
    """A convolution with padding ``kernel // 2``; a linear layer is one of a single pixel. Channels are padded."""

    n_in: int
    n_out: int
    size: int
    out_size: int
    kernel: int
    stride: int
    real_in: int
    real_out: int
    weight: int  # place in the optimizee's flat weights
    packed: int  # place of the repacked weights in the buffers, for the forward pass
    transposed: int  # and for the backward pass


class _Norm(NamedTuple):
    """GroupNorm of ``n`` channels with ``pixels`` pixels."""

    n: int
    pixels: int
    weight: int
    x: int  # its input, which it replaces by the normalised one
    y: int  # what is after the ReLU
    scale: int  # one over the standard deviation (group, sample)


class _Block(NamedTuple):
    conv1: _Conv
    norm1: _Norm
    conv2: _Conv
    norm2: _Norm
    shortcut: _Conv  # of kernel 0 where it is the identity
    x: int
    beside: int  # what comes out of the shortcut


class _Places:
    """Hands out places in the weights and in the buffers, in the order of the network."""

    def __init__(self) -> None:
        self.weights = 0
        self.floats = 0

    def floats_of(self, count: int) -> int:
        place, self.floats = self.floats, self.floats + -(-count // 16) * 16
        return place

    def conv(self, n_in: int, n_out: int, size: int, kernel: int, stride: int) -> _Conv:
        padded = -(-n_in // _CHANNELS) * _CHANNELS
        count = padded * n_out * kernel * kernel
        place, self.weights = self.weights, self.weights + n_in * n_out * kernel * kernel
        packed, transposed = self.floats_of(count), self.floats_of(count)
        return _Conv(padded, n_out, size, size // stride, kernel, stride, n_in, n_out, place, packed, transposed)

    def norm(self, n: int, size: int) -> _Norm:
        place, self.weights = self.weights, self.weights + 2 * n
        count = n * size * size * TILE
        return _Norm(n, size * size, place, *map(self.floats_of, (count, count, _GROUPS * TILE)))

    def block(self, x: int, n_in: int, n_out: int, size: int, stride: int) -> _Block:
        conv1, norm1 = self.conv(n_in, n_out, size, 3, stride), self.norm(n_out, size // stride)
        conv2, norm2 = self.conv(n_out, n_out, size // stride, 3, 1), self.norm(n_out, size // stride)
        if stride == 1 and n_in == n_out:
            return _Block(conv1, norm1, conv2, norm2, self.conv(n_in, n_out, size, 0, 1), x, x)
        shortcut = self.conv(n_in, n_out, size, 1, stride)
        return _Block(conv1, norm1, conv2, norm2, shortcut, x, self.floats_of(norm2.n * norm2.pixels * TILE))


_places = _Places()
_IMAGE = _places.floats_of(16 * 16 * 4 * TILE)
_STEM, _STEM_NORM = _places.conv(3, 8, 16, 3, 2), _places.norm(8, 8)
_LAYER1 = _places.block(_STEM_NORM.y, 8, 8, 8, 1)
_LAYER2 = _places.block(_LAYER1.norm2.y, 8, 16, 8, 2)
_LAYER3 = _places.block(_LAYER2.norm2.y, 16, _FEATURES, 4, 2)
_HEAD = _places.weights
_GRADIENT1, _GRADIENT2, _GRADIENT3, _GRADIENT4 = (_places.floats_of(8 * 8 * 8 * TILE) for _ in range(4))
_FEATURE, _HIDDEN, _D_FEATURE, _D_HIDDEN = (_places.floats_of(_FEATURES * TILE) for _ in range(4))
_HEADS = _places.floats  # what follows depends on the numbers of classes


@_jit
def _linear(n_in, n_out, weight, place):
    padded = (n_out + _CHANNELS - 1) // _CHANNELS * _CHANNELS
    return _Conv(n_in, padded, 1, 1, 1, 1, n_in, n_out, weight, place, place + n_in * padded)


@_jit
def _heads(n_classes, n_proxy):
    """The layers of the two heads, and the places of both logits, their gradients, and the end."""
    first = _linear(_FEATURES, _FEATURES, _HEAD, _HEADS)
    second = _linear(_FEATURES, n_classes, _HEAD + _FEATURES * (_FEATURES + 1), first.transposed + _FEATURES**2)
    proxy = _linear(_FEATURES, n_proxy, 0, second.transposed + _FEATURES * second.n_out)
    logits = proxy.transposed + _FEATURES * proxy.n_out
    proxy_logits = logits + second.n_out * TILE
    d_logits = proxy_logits + proxy.n_out * TILE
    d_proxy = d_logits + second.n_out * TILE
    return first, second, proxy, logits, proxy_logits, d_logits, d_proxy, d_proxy + proxy.n_out * TILE


# --- convolution -----------------------------------------------------------------------------------------------------


@_jit
def _order(slot, conv):
    """Which tap of a transposed kernel is stored in a slot, such that those that meet one pixel are neighbours."""
    if conv.stride == 1:
        return conv.kernel - 1 - slot
    return slot if conv.kernel == 1 else (2, 0, 1)[slot]


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
def _pack(buffers, weights, conv):
    """Repacks weights: ``(out // 4, ky, kx, in, 4)``, and for the backward pass with in and out exchanged."""
    k = conv.kernel
    for o in range(conv.n_out):
        for c in range(conv.n_in):
            for ky in range(k):
                for kx in range(k):
                    there = ((o // 4 * k + ky) * k + kx) * conv.n_in + c
                    place = conv.weight + ((o * conv.real_in + c) * k + ky) * k + kx
                    inside = o < conv.real_out and c < conv.real_in
                    buffers[conv.packed + there * 4 + o % 4] = weights[place] if inside else 0.0
    for c in range(conv.n_in):
        for sy in range(k):
            for sx in range(k):
                tap = _order(sy, conv) * k + _order(sx, conv)
                there = conv.transposed + ((c // 4 * k + sy) * k + sx) * conv.n_out * 4 + c % 4
                for o in range(conv.n_out):
                    inside = o < conv.real_out and c < conv.real_in
                    place = conv.weight + (o * conv.real_in + c) * k * k + tap
                    buffers[there + o * 4] = weights[place] if inside else 0.0


@_jit
def _convolve(buffers, x, conv, y, transposed, add):
    """Convolves ``x`` to ``y``, or the gradient of the output to that of the input; ``add`` adds to what is there."""
    n_in, n_out, size, out_size, packed = conv.n_in, conv.n_out, conv.size, conv.out_size, conv.packed
    if transposed:
        n_in, n_out, size, out_size, packed = n_out, n_in, out_size, size, conv.transposed
    k = conv.kernel
    for o in range(0, n_out, 4):
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
                        w = packed + ((o // 4 * k + sy + j) * k + sx) * n_in * 4
                        for _ in range(nx * n_in):
                            v = _load(buffers, i)
                            a0 = _fma(v, _fill(buffers[w]), a0)
                            a1 = _fma(v, _fill(buffers[w + 1]), a1)
                            a2 = _fma(v, _fill(buffers[w + 2]), a2)
                            a3 = _fma(v, _fill(buffers[w + 3]), a3)
                            i += TILE
                            w += 4
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
def _weight_gradient(buffers, x, dy, conv, gradient):
    """Adds to ``gradient`` that of the weights: dot products of inputs and output gradients over pixels and samples."""
    k, n_in, n_out = conv.kernel, conv.n_in, conv.n_out
    load, fma = simd.load_narrow, _fma
    for o in range(0, n_out, 4):
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
def _normalise(buffers, weights, norm, beside):
    """GroupNorm, plus the shortcut at ``beside`` (none if negative), ReLU."""
    width = norm.n // _GROUPS
    one = 1.0 / (width * norm.pixels)
    for group in range(_GROUPS):
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
            scale = simd.rsqrt(_fma(variance, _fill(one), _fill(_EPS)))
            _store(buffers, norm.scale + group * TILE + part, scale)
            for c in range(width):
                gain = _fill(weights[norm.weight + group * width + c])
                shift = _fill(weights[norm.weight + norm.n + group * width + c])
                for p in range(norm.pixels):
                    at = start + (p * norm.n + c) * TILE
                    v = _mul(_sub(_load(buffers, norm.x + at), mean), scale)
                    _store(buffers, norm.x + at, v)
                    v = _fma(v, gain, shift)
                    if beside >= 0:
                        v = _add(v, _load(buffers, beside + at))
                    _store(buffers, norm.y + at, simd.relu(v))


@_jit
def _normalise_backward(buffers, weights, norm, dy, dx, gradient):
    """From the gradient after the ReLU, ``dy``, to that of the input, ``dx``; ``dy`` becomes that before the ReLU."""
    width = norm.n // _GROUPS
    one = -1.0 / (width * norm.pixels)
    for group in range(_GROUPS):
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
                gain = _fill(weights[place])
                sum_g, sum_gx = _fma(gain, of_shift, sum_g), _fma(gain, of_gain, sum_gx)
            scale = _load(buffers, norm.scale + group * TILE + part)
            sum_g, sum_gx = _mul(sum_g, _fill(one)), _mul(sum_gx, _fill(one))
            for c in range(width):
                gain = _fill(weights[norm.weight + group * width + c])
                for p in range(norm.pixels):
                    at = start + (p * norm.n + c) * TILE
                    g = _fma(gain, _load(buffers, dy + at), sum_g)
                    g = _fma(sum_gx, _load(buffers, norm.x + at), g)
                    _store(buffers, dx + at, _mul(g, scale))


# --- network ---------------------------------------------------------------------------------------------------------


@_jit
def _pack_all(buffers, weights, proxy_weight, n_classes, n_proxy):
    first, second, proxy = _heads(n_classes, n_proxy)[:3]
    _pack(buffers, weights, _STEM)
    for block in (_LAYER1, _LAYER2, _LAYER3):
        _pack(buffers, weights, block.conv1)
        _pack(buffers, weights, block.conv2)
        _pack(buffers, weights, block.shortcut)
    _pack(buffers, weights, first)
    _pack(buffers, weights, second)
    _pack(buffers, proxy_weight, proxy)


@_jit
def _load_images(buffers, images, index, count):
    # Samples beyond ``count`` repeat the last one: a finite image, so that weight zero makes nothing of it.
    for b in range(TILE):
        image = index[min(b, count - 1)]
        for p in range(256):
            for c in range(3):
                buffers[_IMAGE + (p * 4 + c) * TILE + b] = images[image, c, p // 16, p % 16]


@_jit
def _add_bias(buffers, y, bias, at, n, relu):
    for o in range(n):
        for b in range(TILE):
            v = buffers[y + o * TILE + b] + bias[at + o]
            buffers[y + o * TILE + b] = np.float32(0.0) if relu and v < 0 else v


@_jit
def _bias_gradient(buffers, dy, gradient, at, n):
    for o in range(n):
        for part in range(0, TILE, simd.WIDE):
            gradient[at + o] += _total(_load(buffers, dy + o * TILE + part))


@_jit
def _block_forward(buffers, weights, block):
    if block.shortcut.kernel:
        _convolve(buffers, block.x, block.shortcut, block.beside, False, False)
    _convolve(buffers, block.x, block.conv1, block.norm1.x, False, False)
    _normalise(buffers, weights, block.norm1, -1)
    _convolve(buffers, block.norm1.y, block.conv2, block.norm2.x, False, False)
    _normalise(buffers, weights, block.norm2, block.beside)


@_jit
def _block_backward(buffers, weights, block, dy, dx, gradient):
    """From the gradient after the block, ``dy``, to that before it: at ``dy`` for the identity, else at ``dx``."""
    _normalise_backward(buffers, weights, block.norm2, dy, _GRADIENT3, gradient)
    _weight_gradient(buffers, block.norm1.y, _GRADIENT3, block.conv2, gradient)
    _convolve(buffers, _GRADIENT3, block.conv2, _GRADIENT4, True, False)
    _normalise_backward(buffers, weights, block.norm1, _GRADIENT4, _GRADIENT3, gradient)
    _weight_gradient(buffers, block.x, _GRADIENT3, block.conv1, gradient)
    if block.shortcut.kernel:
        _convolve(buffers, _GRADIENT3, block.conv1, dx, True, False)
        _weight_gradient(buffers, block.x, dy, block.shortcut, gradient)
        _convolve(buffers, dy, block.shortcut, dx, True, True)
    else:
        _convolve(buffers, _GRADIENT3, block.conv1, dy, True, True)


@_jit
def _forward(buffers, weights, proxy_bias, n_classes, n_proxy):
    first, second, proxy, logits, proxy_logits, _, _, _ = _heads(n_classes, n_proxy)
    _convolve(buffers, _IMAGE, _STEM, _STEM_NORM.x, False, False)
    _normalise(buffers, weights, _STEM_NORM, -1)
    _block_forward(buffers, weights, _LAYER1)
    _block_forward(buffers, weights, _LAYER2)
    _block_forward(buffers, weights, _LAYER3)
    last = _LAYER3.norm2
    for i in range(0, _FEATURES * TILE, simd.WIDE):
        v = _fill(0.0)
        for p in range(last.pixels):
            v = _add(v, _load(buffers, last.y + p * _FEATURES * TILE + i))
        _store(buffers, _FEATURE + i, _mul(v, _fill(1.0 / last.pixels)))
    _convolve(buffers, _FEATURE, first, _HIDDEN, False, False)
    _add_bias(buffers, _HIDDEN, weights, first.weight + _FEATURES * _FEATURES, _FEATURES, True)
    _convolve(buffers, _HIDDEN, second, logits, False, False)
    _add_bias(buffers, logits, weights, second.weight + n_classes * _FEATURES, n_classes, False)
    _convolve(buffers, _FEATURE, proxy, proxy_logits, False, False)
    _add_bias(buffers, proxy_logits, proxy_bias, 0, n_proxy, False)


@_jit
def _backward(buffers, weights, n_classes, n_proxy, with_head, gradient):
    """Adds to ``gradient``, from the gradients of both logits (of the proxy's alone unless ``with_head``)."""
    first, second, proxy, _, _, d_logits, d_proxy, _ = _heads(n_classes, n_proxy)
    _convolve(buffers, d_proxy, proxy, _D_FEATURE, True, False)
    if with_head:
        _weight_gradient(buffers, _HIDDEN, d_logits, second, gradient)
        _bias_gradient(buffers, d_logits, gradient, second.weight + n_classes * _FEATURES, n_classes)
        _convolve(buffers, d_logits, second, _D_HIDDEN, True, False)
        for i in range(0, _FEATURES * TILE, simd.WIDE):
            _store(buffers, _D_HIDDEN + i, simd.masked(_load(buffers, _HIDDEN + i), _load(buffers, _D_HIDDEN + i)))
        _weight_gradient(buffers, _FEATURE, _D_HIDDEN, first, gradient)
        _bias_gradient(buffers, _D_HIDDEN, gradient, first.weight + _FEATURES * _FEATURES, _FEATURES)
        _convolve(buffers, _D_HIDDEN, first, _D_FEATURE, True, True)
    for i in range(0, _FEATURES * TILE, simd.WIDE):
        v = _mul(_load(buffers, _D_FEATURE + i), _fill(1.0 / _LAYER3.norm2.pixels))
        for p in range(_LAYER3.norm2.pixels):
            _store(buffers, _GRADIENT1 + p * _FEATURES * TILE + i, v)
    _block_backward(buffers, weights, _LAYER3, _GRADIENT1, _GRADIENT2, gradient)
    _block_backward(buffers, weights, _LAYER2, _GRADIENT2, _GRADIENT1, gradient)
    _block_backward(buffers, weights, _LAYER1, _GRADIENT1, _GRADIENT2, gradient)
    _normalise_backward(buffers, weights, _STEM_NORM, _GRADIENT1, _GRADIENT3, gradient)
    _weight_gradient(buffers, _IMAGE, _GRADIENT3, _STEM, gradient)


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
def _losses(buffers, labels, proxy_probs, index, count, share, guidance_weight, n_classes, n_proxy):
    """Both losses summed over the samples, and the gradients of the logits, times ``share``."""
    _, _, _, logits, proxy_logits, d_logits, d_proxy, _ = _heads(n_classes, n_proxy)
    for at in range(d_logits, d_proxy + (n_proxy + 3) // 4 * 4 * TILE):
        buffers[at] = 0.0
    ce, kl = 0.0, 0.0
    for b in range(count):
        label, norm = labels[index[b]], _log_normaliser(buffers, logits, n_classes, b)
        ce += norm - buffers[logits + label * TILE + b]
        for o in range(n_classes):
            q = math.exp(buffers[logits + o * TILE + b] - norm)
            buffers[d_logits + o * TILE + b] = share * (q - (o == label))
        norm, mass = _log_normaliser(buffers, proxy_logits, n_proxy, b), 0.0
        for o in range(n_proxy):
            p = proxy_probs[index[b], o]
            mass += p
            if p > 0:  # 0 log 0 = 0
                kl += p * (math.log(p) - (buffers[proxy_logits + o * TILE + b] - norm))
        for o in range(n_proxy):
            q = math.exp(buffers[proxy_logits + o * TILE + b] - norm)
            difference = mass * q - proxy_probs[index[b], o]
            buffers[d_proxy + o * TILE + b] = share * guidance_weight * difference
    return ce, kl


@_entry
def _tile_gradient(
    buffers,
    weights,
    proxy_weight,
    proxy_bias,
    images,
    labels,
    proxy_probs,
    index,
    start,
    guidance_weight,
    gradients,
    sums,
):
    """One tile of a batch: adds nothing, fills ``gradients (2, P)`` (total, KL; one row: total) and ``sums (2,)``."""
    n_proxy, batch, count = proxy_bias.shape[0], index.shape[0], min(TILE, index.shape[0] - start)
    n_classes = (weights.shape[0] - _HEAD - _FEATURES * (_FEATURES + 1)) // (_FEATURES + 1)
    ours = index[start : start + count]
    _pack_all(buffers, weights, proxy_weight, n_classes, n_proxy)
    _load_images(buffers, images, ours, count)
    _forward(buffers, weights, proxy_bias, n_classes, n_proxy)
    gradients[:] = 0.0
    for row in range(gradients.shape[0]):
        weight = guidance_weight if row == 0 else 1.0
        ce, kl = _losses(buffers, labels, proxy_probs, ours, count, 1.0 / batch, weight, n_classes, n_proxy)
        sums[0], sums[1] = ce / batch, kl / batch
        _backward(buffers, weights, n_classes, n_proxy, row == 0, gradients[row])


@_entry
def _chunk_logits(buffers, weights, proxy_weight, proxy_bias, images, start, stop, out, proxy_out):
    n_proxy, n_classes = proxy_bias.shape[0], out.shape[1]
    _, _, _, logits, proxy_logits, _, _, _ = _heads(n_classes, n_proxy)
    _pack_all(buffers, weights, proxy_weight, n_classes, n_proxy)
    for first in range(start, stop, TILE):
        count = min(TILE, stop - first)
        _load_images(buffers, images, np.arange(first, first + count), count)
        _forward(buffers, weights, proxy_bias, n_classes, n_proxy)
        for b in range(count):
            for o in range(n_classes):
                out[first + b, o] = buffers[logits + o * TILE + b]
            for o in range(n_proxy):
                proxy_out[first + b, o] = buffers[proxy_logits + o * TILE + b]
