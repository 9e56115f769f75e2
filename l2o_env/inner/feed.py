"""Keeps a device fed: batches are decoded by threads before the updates that need them."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from l2o_env.errors import ConfigError
from l2o_env.pairs.augmentation import Draws, draw
from l2o_env.pairs.images.image_split import ImageSplit, Sample

AHEAD = 3
"""Batches that are decoded before they are asked for."""
CHUNK_PIXELS = 32 * 224 * 224
"""Pixels of one forward pass outside training."""
MAX_CHUNK = 200
"""Images of one forward pass outside training."""


class _Pools(NamedTuple):
    """Threads that decode images, and threads that wait for the images of a batch and put them together."""

    images: ThreadPoolExecutor
    batches: ThreadPoolExecutor


@cache
def _pools_of(process: int) -> _Pools:
    # By process, because the threads of a pool do not survive a fork.
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return _Pools(
        ThreadPoolExecutor(min(threads, 16), thread_name_prefix="l2o-decode"),
        ThreadPoolExecutor(AHEAD, thread_name_prefix="l2o-batch"),
    )


class _Batch(NamedTuple):
    """Images and labels that are on their way, and the random numbers that finish them."""

    coming: Future[tuple[Tensor, Tensor]]
    draws: Draws | None


class Feed:
    """Batches of a split on a device.

    Training batches are known by a seed and the number of an update: whoever asks for one gets the same images with
    the same augmentation, and the batches of the updates that follow are decoded meanwhile. Images are written into
    pinned memory where the device is a GPU, copied to it without waiting, and finished there.

    Args:
        split: The images.
        device: Where the batches go.
        dtype: Floating-point type of the images.
    """

    def __init__(self, split: ImageSplit, device: torch.device, dtype: torch.dtype) -> None:
        self.split, self.device, self.dtype = split, device, dtype
        self.waited = 0.0
        """Seconds that were spent waiting for images."""
        self._orders: dict[int, Tensor | Sequence[Tensor]] = {}
        self._ahead: OrderedDict[tuple[int, int], _Batch] = OrderedDict()
        self._current: dict[int, tuple[int, tuple[Tensor, Tensor]]] = {}

    def begin(self, seed: int, order: Tensor | Sequence[Tensor]) -> None:
        """Makes a seed's batches known: ``order (n_updates, batch)``, indices of images, or those of each batch."""
        self._orders[seed] = order

    def keep(self, seeds: Sequence[int]) -> None:
        """Forgets the batches of all other seeds."""
        for seed in set(self._orders) - set(seeds):
            del self._orders[seed]
            self._current.pop(seed, None)
        for key in [key for key in self._ahead if key[0] not in self._orders]:
            self._ahead.pop(key).coming.cancel()

    def batch(self, seed: int, update: int) -> tuple[Tensor, Tensor]:
        """Images ``(batch, 3, h, w)`` and labels of an update, on the device."""
        known = self._current.get(seed)
        if known is not None and known[0] == update:
            return known[1]
        batch = self._ahead.pop((seed, update), None) or self._submit_update(seed, update)
        for coming in range(update + 1, min(update + 1 + AHEAD, len(self._orders[seed]))):
            if (seed, coming) not in self._ahead:
                self._ahead[seed, coming] = self._submit_update(seed, coming)
        for key in [key for key in self._ahead if key[0] == seed and not update < key[1] <= update + AHEAD]:
            self._ahead.pop(key).coming.cancel()
        found = self._finish(batch)
        self._current[seed] = update, found
        return found

    def chunks(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """All images in order, without augmentation: their indices, images and labels, in parts of one size.

        The parts are the same in every pass. Images that differ in size come one by one.
        """
        n = chunk_size(self.split)
        parts = [slice(i, min(i + n, len(self.split))) for i in range(0, len(self.split), n)]
        waiting = [self._submit(range(p.start, p.stop), None) for p in parts[:AHEAD]]
        for k, part in enumerate(parts):
            if k + AHEAD < len(parts):
                coming = parts[k + AHEAD]
                waiting.append(self._submit(range(coming.start, coming.stop), None))
            images, labels = self._finish(waiting.pop(0))
            yield part, images, labels

    def _submit_update(self, seed: int, update: int) -> _Batch:
        index = self._orders[seed][update].tolist()
        draws = draw(self.split.augmentation, len(index), seed, update) if self.split.random else None
        return self._submit(index, draws)

    def _submit(self, index: Sequence[int], draws: Draws | None) -> _Batch:
        pools = _pools_of(os.getpid())
        jobs = [pools.images.submit(self.split.read, i, draws, k) for k, i in enumerate(index)]
        return _Batch(pools.batches.submit(self._together, jobs), draws)

    def _together(self, jobs: list[Future[Sample]]) -> tuple[Tensor, Tensor]:
        samples = [job.result() for job in jobs]
        sizes = {tuple(sample.image.shape[1:]) for sample in samples}
        if len(sizes) > 1:
            raise ConfigError(
                f"The {self.split.name} differ in size ({', '.join(f'{w} x {h}' for h, w in sorted(sizes))} pixels); "
                "give a size, or a crop, that all come to."
            )
        # By NumPy: PyTorch would do it with threads, each thread of ours with others of its own.
        images, labels = (
            torch.from_numpy(np.stack([tensor.numpy() for tensor in tensors])) for tensors in zip(*samples, strict=True)
        )
        if self.device.type == "cuda":
            return images.pin_memory(), labels.pin_memory()
        return images, labels

    def _finish(self, batch: _Batch) -> tuple[Tensor, Tensor]:
        started = time.perf_counter()
        images, labels = batch.coming.result()
        self.waited += time.perf_counter() - started
        images = images.to(self.device, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True)
        return self.split.finish(images, labels, self.dtype, batch.draws)


def chunk_size(split: ImageSplit) -> int:
    """Images of one forward pass outside training; 1 where they keep their own size."""
    return min(max(CHUNK_PIXELS // split.side**2, 1), MAX_CHUNK) if split.side else 1
