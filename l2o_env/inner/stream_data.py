"""A pair whose images are decoded on demand, as a population uses it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from l2o_env.errors import ConfigError
from l2o_env.inner.feed import MAX_CHUNK, Feed
from l2o_env.models.base import resident
from l2o_env.pairs.images.image_split import ImageSplit
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.splits import Split

PROXY_BYTES = 2 * 2**30
"""The proxy's outputs on a split are computed once and kept if they take no more than this, else on every batch."""
_kept: WeakKeyDictionary[Pair, dict[tuple[Any, ...], Tensor | None]] = WeakKeyDictionary()


class Batch(NamedTuple):
    """Images, labels, and the proxy's probabilities (classes in dimension 1; None where nobody asked for them)."""

    images: Tensor
    labels: Tensor
    probs: Tensor | None


class StreamData:
    """A pair of which at least one split is decoded on demand.

    The proxy's outputs are computed once where they are the same each time and small enough, and shared by all
    populations on the pair; else on every batch.

    Args:
        pair: The pair.
        device: Where batches go.
        dtype: Floating-point type of the images.
    """

    def __init__(self, pair: Pair, device: torch.device, dtype: torch.dtype) -> None:
        self.pair = pair
        self._device, self._dtype = device, dtype
        self._proxy = resident(pair.proxy, device, dtype)
        self._feeds: dict[str, Feed | Split] = {}
        self._last: tuple[int, int, Tensor] = (-1, -1, torch.empty(0))
        self.n_train = len(pair.train)
        self._train_probs = None if self._is_random() else self._probs("train")

    def _is_random(self) -> bool:
        return isinstance(self.pair.train, ImageSplit) and self.pair.train.random

    @property
    def waited(self) -> float:
        """Seconds that were spent waiting for images."""
        return sum(feed.waited for feed in self._feeds.values() if isinstance(feed, Feed))

    def begin(self, seed: int, order: Tensor, seeds: Sequence[int]) -> None:
        """Makes the batches of an episode known.

        Args:
            seed: Seed of the order.
            order: Indices of images ``(n_updates, batch)``.
            seeds: Seeds of all episodes on this pair; what belongs to others is forgotten.
        """
        feed = self._source("train")
        if isinstance(feed, Feed):
            feed.begin(seed, order.cpu())
            feed.keep(seeds)

    def batch(self, index: Tensor, seed: int, update: int) -> Batch:
        """The training batch of one update of the episode of a seed."""
        feed = self._source("train")
        if isinstance(feed, Split):
            images, labels = feed.images[index], feed.labels[index]
        else:
            images, labels = feed.batch(seed, update)
        if self._train_probs is not None:
            return Batch(images, labels, self._train_probs[index])
        if self._last[:2] != (seed, update):  # optimizees with common random numbers share their batches
            self._last = seed, update, self._proxy_probs(images)
        return Batch(images, labels, self._last[2])

    def chunks(self, name: str) -> Iterator[Batch]:
        """All images of a split in order, in parts; with the proxy's outputs for validation and shifted images."""
        if name == "shifted" and self.pair.shifted is None:  # not decoded, cached and seen by the proxy once more
            name = "validation"
        judged = name in ("validation", "shifted")
        probs = self._probs(name) if judged else None
        for part, images, labels in self._parts(name):
            found = probs[part] if probs is not None else None
            if judged and found is None:
                found = self._proxy_probs(images)
            yield Batch(images, labels, found)

    def _parts(self, name: str) -> Iterator[tuple[slice, Tensor, Tensor]]:
        source = self._source(name)
        if isinstance(source, Feed):
            yield from source.chunks()
            return
        for start in range(0, len(source), MAX_CHUNK):
            part = slice(start, start + MAX_CHUNK)
            yield part, source.images[part], source.labels[part]

    def _source(self, name: str) -> Feed | Split:
        if name not in self._feeds:
            split = self.pair.split(name)
            if split is None:
                raise no_images(self.pair, name)
            if isinstance(split, Split):
                self._feeds[name] = Split(split.images.to(self._device, self._dtype), split.labels.to(self._device))
            else:
                self._feeds[name] = Feed(split, self._device, self._dtype)
        return self._feeds[name]

    def _proxy_probs(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self._proxy(images).softmax(1)

    def _probs(self, name: str) -> Tensor | None:
        """The proxy's outputs on a whole split, or None if they are too large to keep."""
        kept = _kept.setdefault(self.pair, {})
        key = (name, self._device, self._dtype)
        if key not in kept:
            kept[key] = self._compute_probs(name)
        return kept[key]

    def _compute_probs(self, name: str) -> Tensor | None:
        n, found = len(self.pair.split(name) or ()), []
        for _, images, _ in self._parts(name):
            found.append(self._proxy_probs(images))
            if found[0][0].nbytes * n > PROXY_BYTES:
                return None
        return torch.cat(found)


def no_images(pair: Pair, split: str) -> ConfigError:
    """The error for a split that a pair does not have."""
    return pair.no_images(split, "so there is no accuracy on them")
