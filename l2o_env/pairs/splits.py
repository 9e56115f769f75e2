"""Labelled images: in memory, or decoded on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.errors import ConfigError
from l2o_env.pairs.images.image_split import ImageSplit


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images, in memory.

    Attributes:
        images: ``(n, channels, height, width)``, float32, as the network takes them.
        labels: ``(n,)``, int64; or ``(n, height, width)`` where every pixel has a class, ``IGNORED`` for none.
        masks: ``(n, height, width)``, bool; where the object is, for evaluation. None where that is not known.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None = None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)


def in_memory(split: Split | ImageSplit | None) -> Split:
    """The split as one that is in memory.

    Raises:
        ConfigError: If there is none, or its images are decoded on demand.
    """
    if not isinstance(split, Split):
        raise ConfigError("This needs a pair whose images are in memory, such as 'glyphs-digits'.")
    return split


def images_of(split: Split | ImageSplit, indices: Sequence[int]) -> Tensor:
    """Images of a split as the network takes them, without augmentation, ``(n, 3, h, w)``, on the CPU."""
    return split.images[list(indices)] if isinstance(split, Split) else decoded(split, indices).images


def decoded(split: ImageSplit, indices: Sequence[int]) -> Split:
    """Images of one size, and their labels, as the network takes them: without augmentation, on the CPU."""
    samples = [split.read(i) for i in indices]
    images, labels = torch.stack([s.image for s in samples]), torch.stack([s.label for s in samples])
    return Split(*split.finish(images, labels, torch.float32))


def as_split(images: NDArray[np.float32], labels: NDArray[np.int64]) -> Split:
    """A split of RGB images ``(n, h, w, 3)`` in [0, 1] as the embedded networks take them, in [-1, 1]."""
    normalised = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32))
    return Split((normalised - 0.5) / 0.5, torch.from_numpy(labels.astype(np.int64)))
