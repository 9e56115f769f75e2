"""Images as an adaptation reads them: the source with labels, the target without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from l2o_env.inner.device_data import EVALUATION_CHUNK
from l2o_env.inner.feed import Feed
from l2o_env.models.losses import IGNORED
from l2o_env.pairs.augmentation import VOID, Augmentation
from l2o_env.pairs.images.image_split import ImageSplit, Sample, Samples
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.splits import Split

SIZES_DIFFER = "The target images differ in size, and adaptation needs one; bring their files, and masks, to one size."


class UnlabelledImages:
    """Images that have no labels: all that a method is given of the target.

    Args:
        images: ``(n, channels, height, width)`` as the network takes them, or images that are decoded on demand, whose
            labels are left behind.
        device: Where batches go.
        augmentation: What is done to the latter in training.
    """

    def __init__(
        self, images: Tensor | ImageSplit, device: torch.device, augmentation: Augmentation | None = None
    ) -> None:
        self._device, self._n = device, len(images)
        self._images: Tensor | Feed
        if isinstance(images, Tensor):
            self._images = images.to(device)
            return
        # Predictions are of whole images, so that pixels can be labelled before they are cropped.
        self._images = Feed(_bare(images, Augmentation()), device, torch.float32)
        self._training = _bare(images, augmentation or Augmentation())

    @classmethod
    def of(cls, pair: Pair, device: torch.device) -> UnlabelledImages:
        """The target images of a pair, whose labels stay behind; in training they are augmented like the source's.

        Raises:
            ConfigError: If the pair has none.
        """
        if pair.target is None:
            raise pair.no_images("target", "and adaptation learns from them")
        if isinstance(pair.target, Split):
            return cls(pair.target.images, device)
        augmentation = pair.train.augmentation if isinstance(pair.train, ImageSplit) else None
        return cls(pair.target, device, augmentation)

    def __len__(self) -> int:
        """Number of images."""
        return self._n

    @property
    def moved(self) -> bool:
        """Whether images are cropped or mirrored in training, so that labels of pixels have to move with them."""
        return not isinstance(self._images, Tensor) and self._training.random

    def batches(
        self, order: Sequence[Tensor], seed: int, pseudo: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The images ``(n, channels, h, w)`` of each batch of indices, augmented by a seed, and their pseudo labels.

        Args:
            order: Indices of each batch.
            seed: Seed of the augmentation.
            pseudo: Labels of all images ``(n,)``, or of their pixels ``(n, h, w)``, which move with them.
        """
        if isinstance(self._images, Tensor):
            for index in order:
                yield self._images[index], None if pseudo is None else pseudo[index]
        elif pseudo is not None and pseudo.dim() > 1:
            masks = torch.where(pseudo == IGNORED, VOID, pseudo).to("cpu", torch.uint8)
            yield from _fed(Feed(_WithMasks(self._training, masks), self._device, torch.float32), order, seed)
        else:
            fed = _fed(Feed(self._training, self._device, torch.float32), order, seed)
            for index, (images, _) in zip(order, fed, strict=True):
                yield images, None if pseudo is None else pseudo[index.to(pseudo.device)]

    def chunks(self) -> Iterator[Tensor]:
        """All images in order, whole and without augmentation, in parts."""
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


def _bare(split: ImageSplit, augmentation: Augmentation) -> ImageSplit:
    """The images of a split without their labels, with another augmentation."""
    samples = _ImagesOnly(split.samples)
    return ImageSplit(
        samples, None, split.size, augmentation, split.mean, split.std, split.cache_bytes // 2, split.name
    )


class _WithMasks(ImageSplit):
    """Images with labels of their pixels, which are cropped and mirrored with them.

    Args:
        split: The images.
        masks: ``(n, h, w)``, uint8, in the size that images have before augmentation.
    """

    def __init__(self, split: ImageSplit, masks: Tensor) -> None:
        self._split, self._masks = split, masks
        super().__init__(split.samples, None, split.size, split.augmentation, split.mean, split.std, 0, split.name)

    def base(self, index: int) -> Sample:
        """An image in its size from the cache of the other split, and its mask."""
        return Sample(self._split.base(index).image, self._masks[index])


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
