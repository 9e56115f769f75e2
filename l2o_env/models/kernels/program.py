"""The one compiled function that runs a program of kernels on the samples of a batch.

PyTorch reaches a tenth of what the processor can do on networks of a few thousand weights. How it is done here:

- Activations, weights and gradients are at places of flat arrays of floats (see :mod:`~l2o_env.models.kernels.tiles`).
- A network is a *program*: rows of integers, each an operation and its operands. So every kernel is compiled once, for
  any network.

The arguments of :func:`run`:

- ``program``: ``(n_steps, WIDTH)`` int64.
- ``n_once``: How many steps at the beginning are for the first tile only (repacking).
- ``buffers``: Flat float32, as long as the program needs.
- ``image_place``: Where the tile's images go, of size ``size * size * padded channels * TILE``.
- ``weights``: Flat float32; goes to place 0.
- ``proxy_weight``: Flat float32; goes after ``weights``.
- ``proxy_bias``: ``(K,)`` float32; goes after ``proxy_weight``.
- ``images``: ``(M, channels, size, size)`` float32.
- ``labels``: ``(M,)`` int64.
- ``probs``: ``(M, n_proxy_classes)`` float32.
- ``index``: ``(B,)`` int64: which images are the batch.
- ``start``: First sample.
- ``stop``: One after the last sample.
- ``guidance_weight``: Factor of the divergence in the total.
- ``of_total``: ``(P,)`` float32: the gradient of the total. Added to.
- ``of_guidance``: ``(P,)`` float32: the gradient of the divergence alone, if the program computes it. Added to.
- ``losses``: ``(2,)`` float64: mean cross-entropy and divergence. Added to.
- ``logits``: ``(B, n_classes)`` float32; written by the operation ``LOGITS``.
- ``proxy_logits``: ``(B, n_proxy_classes)`` float32; the same.

The first call compiles, once per machine: Numba caches on disk, beside this file or, where that is not writable, in the
user's cache folder (or in ``NUMBA_CACHE_DIR``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from l2o_env.models.kernels.convolution import Conv, convolve, pack, weight_gradient
from l2o_env.models.kernels.layers import add_bias, bias_gradient, mask, mean, mean_backward
from l2o_env.models.kernels.losses import cross_entropy, divergence
from l2o_env.models.kernels.normalisation import Norm, normalise, normalise_backward
from l2o_env.models.kernels.tiles import CHANNELS, TILE, jit

WIDTH = 16
"""Columns of a program: the operation, and its operands."""

(PACK, CONVOLVE, WEIGHT_GRADIENT, NORMALISE, NORMALISE_BACKWARD, BIAS, BIAS_GRADIENT, MASK, MEAN, MEAN_BACKWARD,
 CROSS_ENTROPY, DIVERGENCE, LOGITS) = range(13)  # fmt: skip
"""Operations. Their operands are those of the kernels, after the buffers: see :func:`run`."""


@jit
def _load_weights(buffers, weights, proxy_weight, proxy_bias):
    place = 0
    for values in (weights, proxy_weight, proxy_bias):
        for value in values:
            buffers[place] = value
            place += 1


@jit
def _load_images(buffers, place, images, samples, count):
    # Samples beyond ``count`` repeat the last one: a finite image, so that weight zero makes nothing of it.
    n_channels, size = images.shape[1], images.shape[2]
    padded = (n_channels + CHANNELS - 1) // CHANNELS * CHANNELS
    for b in range(TILE):
        image = samples[min(b, count - 1)]
        for c in range(n_channels):
            for y in range(size):
                for x in range(size):
                    buffers[place + ((y * size + x) * padded + c) * TILE + b] = images[image, c, y, x]


@jit
def _store_logits(buffers, place, logits, first, count):
    for b in range(count):
        for i in range(logits.shape[1]):
            logits[first + b, i] = buffers[place + i * TILE + b]


def _cached(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function, and keeps it on disk under a name that tells of which sources.

    Numba itself looks only at the file that the function is in, and so would take kernels of another version of the
    files beside it from its cache.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    function.__qualname__ = f"{function.__name__}_{digest[:16]}"
    return numba.njit(error_model="numpy", nogil=True, cache=True)(function)


@_cached
def run(
    program, n_once, buffers, image_place, weights, proxy_weight, proxy_bias, images, labels, probs, index, start, stop,
    guidance_weight, of_total, of_guidance, losses, logits, proxy_logits,
):  # fmt: skip
    """Runs a program on the samples ``start`` to ``stop`` of a batch, tile after tile. Types are exact.

    See the module for its arguments.
    """
    _load_weights(buffers, weights, proxy_weight, proxy_bias)
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
                pack(buffers, conv)
            elif o[0] == CONVOLVE:
                convolve(buffers, conv, o[12], o[13], o[14], o[15])
            elif o[0] == WEIGHT_GRADIENT:
                weight_gradient(buffers, conv, o[12], o[13], gradient)
            elif o[0] == NORMALISE:
                normalise(buffers, norm, o[7])
            elif o[0] == NORMALISE_BACKWARD:
                normalise_backward(buffers, norm, o[7], o[8], gradient)
            elif o[0] == BIAS:
                add_bias(buffers, o[1], o[2], o[3], o[4])
            elif o[0] == BIAS_GRADIENT:
                bias_gradient(buffers, o[1], o[2], o[3], gradient)
            elif o[0] == MASK:
                mask(buffers, o[1], o[2], o[3])
            elif o[0] == MEAN:
                mean(buffers, o[1], o[2], o[3], o[4])
            elif o[0] == MEAN_BACKWARD:
                mean_backward(buffers, o[1], o[2], o[3], o[4])
            elif o[0] == CROSS_ENTROPY:
                losses[0] += share * cross_entropy(buffers, o[1], o[2], o[3], labels, samples, count, share)
            elif o[0] == DIVERGENCE:
                gradient, weight = (of_guidance, 1.0) if o[4] else (of_total, guidance_weight)
                kl = share * divergence(buffers, o[1], o[2], o[3], probs, samples, count, share * weight)
                losses[1] += 0.0 if o[4] else kl
            elif o[0] == LOGITS:
                _store_logits(buffers, o[1], logits, first, count)
                _store_logits(buffers, o[2], proxy_logits, first, count)
