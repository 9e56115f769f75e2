"""Gradients and logits of many copies of ``l2o_env.models.small.SmallNet`` on the CPU, without PyTorch.

Threads take optimizees (of a forward pass, chunks of images too) as they get free, and each is computed by one thread.
So the result, bit for bit, does not depend on the number of threads, which is PyTorch's (``l2o_env.threads``).
No thread outlives a call, and Numba's own thread pools are not used: processes may be forked or spawned at any time.

Importing this module imports Numba, and the first call compiles (see :mod:`~l2o_env.models.kernels.program`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2o_env import threads
from l2o_env.models.base import Optimizee
from l2o_env.models.kernels.program import run
from l2o_env.models.kernels.small_net_programs import CACHE_LINE, IMAGE_CHANNELS, IMAGE_SIZE, SmallNetPrograms
from l2o_env.models.kernels.tiles import TILE

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_CHUNK = 8 * TILE
"""Images of one job of a forward pass: few enough for all threads to have some, but each job repacks the weights."""
_NOTHING = np.empty((0, 0), dtype=np.float32)


def _checked(name: str, array: NDArray[Any], dtype: Any, shape: tuple[int, ...], below: int | None = None) -> Any:
    """The array as compiled code takes it, which checks no bounds: a wrong shape or index would read anywhere."""
    if array.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, got {array.shape}.")
    if below is not None and array.size and (array.min() < 0 or array.max() >= below):
        raise ValueError(f"{name} must be from 0 to {below - 1}, got {array.min()} to {array.max()}.")
    return np.require(array, dtype, ["C", "A", "W"])  # other kinds of arrays would be compiled for anew


def _aligned(n: int) -> Floats:
    """Buffers that begin at a cache line; all zero, because channels that only fill up are never written."""
    memory = np.zeros(n + CACHE_LINE, dtype=np.float32)
    start = -memory.ctypes.data % (CACHE_LINE * memory.itemsize) // memory.itemsize
    return memory[start : start + n]


class SmallNetKernels:
    """Gradients and logits of ``N`` optimizees of one architecture: stem, residual blocks, and two heads.

    All arrays are NumPy's, on the CPU: a tensor gives its own memory with ``tensor.numpy()``. An instance keeps its
    buffers (0.7 MB a thread for the small network) and so must not be called by two threads at a time.

    Args:
        network: A ``l2o_env.models.small.SmallNet``, of which only the shapes are read. Its proxy's head has ``K``
            classes; to train optimizees of fewer together with others, pad: weight 0, bias -1e4, probability 0.

    Attributes:
        n_weights: Trained weights of an optimizee, ``P``: all parameters of ``network.layer_groups()`` in that order,
            flattened.
    """

    def __init__(self, network: Optimizee) -> None:
        self._programs = SmallNetPrograms(network)
        self.n_weights = self._programs.n_weights
        self._buffers: list[Floats] = []  # one of each thread

    def gradients(
        self,
        weights: Floats,
        proxy_weight: Floats,
        proxy_bias: Floats,
        images: Floats,
        labels: Ints,
        proxy_probs: Floats,
        index: Ints,
        guidance_weight: float | NDArray[np.float64],
        *,
        separate: bool = False,
        out: Floats | None = None,
    ) -> tuple[Floats, Floats, Floats, Floats | None]:
        """Gradients of mean cross-entropy + ``guidance_weight`` * mean KL(proxy || optimizee) on one batch each.

        See ``BatchedKernels``. Images are ``(M, 3, 16, 16)``, and ``guidance_weight`` may be one number for all. The
        gradients of the total are written to ``out`` ``(N, P)`` if it is given. With ``separate`` the forward pass is
        shared. What is not finite in the weights goes through to the results.

        Raises:
            ValueError: If a shape or an index does not fit.
        """
        programs, n, batch, n_images = self._programs, len(weights), index.shape[-1], len(images)
        weights, proxy_weight, proxy_bias, images = self._checked(weights, proxy_weight, proxy_bias, images)
        labels = _checked("labels", labels, np.int64, (n_images,), programs.n_classes)
        proxy_probs = _checked("proxy_probs", proxy_probs, np.float32, (n_images, programs.n_proxy_classes))
        index = _checked("index", index, np.int64, (n, batch), n_images)
        factors = [float(x) for x in np.broadcast_to(np.asarray(guidance_weight, np.float64), n)]
        total = np.empty_like(weights) if out is None else out
        if total.dtype != np.float32 or total.shape != weights.shape or not total.flags.c_contiguous:
            raise ValueError(f"out must be contiguous float32 {weights.shape}, got {total.dtype} {total.shape}.")
        total[:] = 0.0
        guidance = np.zeros_like(weights) if separate else None
        losses = np.zeros((n, 2))

        def work(buffer: Floats, i: int, start: int) -> None:
            run(
                programs.of_total if guidance is None else programs.of_both, programs.n_once, buffer, programs.image,
                weights[i], proxy_weight[i], proxy_bias[i], images, labels, proxy_probs, index[i], start, batch,
                factors[i], total[i], total[i] if guidance is None else guidance[i], losses[i], _NOTHING, _NOTHING,
            )  # fmt: skip

        self._share([(i, 0) for i in range(n)], work)
        ce, kl = np.ascontiguousarray(losses.T, dtype=np.float32)
        return total, ce, kl, guidance

    def logits(
        self, weights: Floats, proxy_weight: Floats, proxy_bias: Floats, images: Floats
    ) -> tuple[Floats, Floats]:
        """Logits of both heads of all optimizees for the same images; see ``BatchedKernels``.

        Raises:
            ValueError: If a shape does not fit.
        """
        weights, proxy_weight, proxy_bias, images = self._checked(weights, proxy_weight, proxy_bias, images)
        programs, n, n_images = self._programs, len(weights), len(images)
        new = np.empty((n, n_images, programs.n_classes), dtype=np.float32)
        proxy = np.empty((n, n_images, programs.n_proxy_classes), dtype=np.float32)
        index, unused, no_losses = np.arange(n_images), np.empty(0, dtype=np.float32), np.empty(0)

        def work(buffer: Floats, i: int, start: int) -> None:
            run(
                programs.of_logits, programs.n_once, buffer, programs.image, weights[i], proxy_weight[i], proxy_bias[i],
                images, index, _NOTHING, index, start, min(n_images, start + _CHUNK), 0.0, unused, unused, no_losses,
                new[i], proxy[i],
            )  # fmt: skip

        self._share([(i, start) for i in range(n) for start in range(0, n_images, _CHUNK)], work)
        return new, proxy

    def _checked(
        self, weights: Floats, proxy_weight: Floats, proxy_bias: Floats, images: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        n, k, n_features = len(weights), self._programs.n_proxy_classes, self._programs.n_features
        return (
            _checked("weights", weights, np.float32, (n, self.n_weights)),
            _checked("proxy_weight", proxy_weight, np.float32, (n, k, n_features)).reshape(n, k * n_features),
            _checked("proxy_bias", proxy_bias, np.float32, (n, k)),
            _checked("images", images, np.float32, (len(images), IMAGE_CHANNELS, IMAGE_SIZE, IMAGE_SIZE)),
        )

    def _share(self, jobs: list[tuple[int, int]], work: Callable[[Floats, int, int], None]) -> None:
        """Does the jobs on as many threads as PyTorch uses, each with buffers of its own."""
        n_threads = max(1, min(threads.n_threads(), len(jobs)))
        while len(self._buffers) < n_threads:
            self._buffers.append(_aligned(self._programs.n_floats))
        left = deque(jobs)

        def take(buffer: Floats) -> None:
            while True:
                try:
                    job = left.popleft()
                except IndexError:
                    return
                work(buffer, *job)

        if n_threads == 1:
            return take(self._buffers[0])
        with ThreadPoolExecutor(n_threads - 1) as pool:
            others = [pool.submit(take, buffer) for buffer in self._buffers[1:n_threads]]
            take(self._buffers[0])
        for other in others:
            other.result()
