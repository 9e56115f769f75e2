"""Labelled images: in memory, or decoded on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.errors import ConfigError
from l2o_env.models.losses import IGNORED
from l2o_env.pairs.images.image_split import ImageSplit

_SHOWN = 5


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

    def __repr__(self) -> str:
        """Shapes: the numbers would fill screens."""
        masks = "" if self.masks is None else ", masks"
        return f"Split(images={(*self.images.shape,)}, labels={(*self.labels.shape,)}{masks})"


def check_images(split: Split | ImageSplit, n_classes: int, name: str) -> None:
    """Checks what would otherwise end a training, or be trained on without a word.

    Of images that are decoded on demand only the labels are known.

    Args:
        split: The images.
        n_classes: Their classes.
        name: What messages call them.

    Raises:
        ConfigError: If there are none, an image is not finite or not of floating point, or a label is none of the
            classes.
    """
    labels = split.labels
    if not len(split):
        raise ConfigError(f"There are no {name}; expected at least one.")
    if isinstance(split, Split):
        _check_pixels(split, name)
    if labels is None:
        return
    if labels.dtype != torch.int64 or labels.dim() not in (1, 3):
        raise ConfigError(
            f"The labels of the {name} are {labels.dtype} of shape {tuple(labels.shape)}; expected torch.int64, (n,) "
            "or (n, height, width)."
        )
    strange = (labels < 0) | (labels >= n_classes)
    if labels.dim() == 3:
        strange &= labels != IGNORED
    if strange.any():
        found = sorted(set(labels[strange].tolist()))
        shown = ", ".join(map(str, found[:_SHOWN])) + (", …" if len(found) > _SHOWN else "")
        rest = f", or {IGNORED} for pixels without a class" if labels.dim() == 3 else ""
        raise ConfigError(
            f"{int(strange.sum())} labels of the {name} are none of its {n_classes} classes: {shown}; expected 0 to "
            f"{n_classes - 1}{rest}."
        )
    if (labels == IGNORED).all():
        raise ConfigError(f"No pixel of the {name} has a class; expected some that have one.")


def _check_pixels(split: Split, name: str) -> None:
    images, labels = split.images, split.labels
    if images.dim() != 4 or not images.is_floating_point():
        raise ConfigError(
            f"The {name} are {images.dtype} of shape {tuple(images.shape)}; expected torch.float32, (n, channels, "
            "height, width), as the network takes them."
        )
    if len(images) != len(labels) or (labels.dim() == 3 and images.shape[2:] != labels.shape[1:]):
        raise ConfigError(
            f"The {name} are of shape {tuple(images.shape)}, their labels of {tuple(labels.shape)}; expected a label "
            "for each image, or for each pixel."
        )
    if not torch.isfinite(images.sum()):  # a sum is quick, and mostly tells
        strange = (~torch.isfinite(images)).flatten(1).any(1).nonzero().flatten().tolist()
        if strange:
            raise ConfigError(
                f"{len(strange)} of the {len(images)} {name} hold NaN or infinity, such as number {strange[0]}; all "
                "pixels have to be finite."
            )


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
