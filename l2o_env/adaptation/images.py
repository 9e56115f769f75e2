"""Images as an adaptation reads them: the source with labels, the target without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from l2o_env.errors import ConfigError
from l2o_env.inner.device_data import EVALUATION_CHUNK
from l2o_env.inner.feed import Feed
from l2o_env.pairs.images.image_split import ImageSplit, Samples
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.splits import Split


class UnlabelledImages:
    """Images that have no labels: all that a method is given of the target.

    Args:
        images: ``(n, channels, height, width)`` as the network takes them, or a source that is decoded on demand and
            that :meth:`of` made of a labelled one.
        device: Where batches go.
    """

    def __init__(self, images: Tensor | ImageSplit, device: torch.device) -> None:
        self._images = images.to(device) if isinstance(images, Tensor) else Feed(images, device, torch.float32)
        self._n = len(images)

    @classmethod
    def of(cls, pair: Pair, device: torch.device) -> UnlabelledImages:
        """The target images of a pair, whose labels stay behind; in training they are augmented like the source's.

        Raises:
            ConfigError: If the pair has none.
        """
        split = pair.target
        if split is None:
            raise ConfigError(
                f"Pair {pair.name!r} has no target images, and adaptation learns from them; give it some: target=…."
            )
        if isinstance(split, Split):
            return cls(split.images, device)
        augmentation = pair.train.augmentation if isinstance(pair.train, ImageSplit) else split.augmentation
        bare = ImageSplit(_ImagesOnly(split.samples), None, split.size, augmentation, split.mean, split.std,
                          split.cache_bytes, split.name)  # fmt: skip
        return cls(bare, device)

    def __len__(self) -> int:
        """Number of images."""
        return self._n

    def batches(self, order: Sequence[Tensor], seed: int) -> Iterator[Tensor]:
        """The images ``(n, channels, h, w)`` of each batch of indices, augmented by a seed."""
        if isinstance(self._images, Tensor):
            yield from (self._images[index] for index in order)
        else:
            yield from (images for images, _ in _fed(self._images, order, seed))

    def chunks(self) -> Iterator[Tensor]:
        """All images in order, without augmentation, in parts."""
        if isinstance(self._images, Tensor):
            yield from self._images.split(EVALUATION_CHUNK)
        else:
            yield from (images for _, images, _ in self._images.chunks())


class LabelledImages:
    """The source: images with their labels.

    Args:
        split: The images, in memory or decoded on demand.
        device: Where batches go.
    """

    def __init__(self, split: Split | ImageSplit, device: torch.device) -> None:
        self._split: Split | Feed = (
            Split(split.images.to(device), split.labels.to(device))
            if isinstance(split, Split)
            else Feed(split, device, torch.float32)
        )
        self._n = len(split)

    def __len__(self) -> int:
        """Number of images."""
        return self._n

    def batches(self, order: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of each batch of indices, augmented by a seed."""
        if isinstance(self._split, Split):
            yield from ((self._split.images[index], self._split.labels[index]) for index in order)
        else:
            yield from _fed(self._split, order, seed)

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All images in order, without augmentation, and their labels, in parts."""
        if isinstance(self._split, Split):
            parts = (self._split.images.split(EVALUATION_CHUNK), self._split.labels.split(EVALUATION_CHUNK))
            yield from zip(*parts, strict=True)
        else:
            yield from ((images, labels) for _, images, labels in self._split.chunks())


class _ImagesOnly:
    """Samples whose label is 0, whatever it was."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self._samples[index][0], 0


def _fed(feed: Feed, order: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches that are decoded ahead; of an empty one nothing is."""
    filled = [index for index in order if len(index)]
    feed.begin(seed, filled)
    feed.keep([seed])
    updates = iter(range(len(filled)))
    last: tuple[Tensor, Tensor] | None = None
    for index in order:
        if len(index):
            last = feed.batch(seed, next(updates))
            yield last
        else:
            shape = (0, 3, feed.split.side, feed.split.side) if last is None else (0, *last[0].shape[1:])
            yield torch.zeros(shape, device=feed.device), torch.zeros(0, dtype=torch.int64, device=feed.device)
