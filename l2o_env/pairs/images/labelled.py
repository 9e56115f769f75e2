"""Labelled images that a pair is assembled from: in files, or in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from l2o_env.pairs.images.image_split import Samples
from l2o_env.pairs.images.listing import Listing


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images of one size that are in memory as bytes; used where a ``Listing`` is.

    Attributes:
        pixels: ``(n, height, width)`` for grey, or ``(n, height, width, 3)`` for RGB, uint8.
        labels: The class of each, ``(n,)``.
        classes: Names of the classes, in the order of their indices.
        name: What messages call it.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    name: str = "images"
    # As in a Listing: every image stands alone, and has one class.
    groups: ClassVar[None] = None
    dense: ClassVar[bool] = False

    def __len__(self) -> int:
        """Number of images."""
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """A PIL image and its class."""
        from PIL import Image

        return Image.fromarray(self.pixels[index]), int(self.labels[index])

    def fingerprint(self) -> str:
        """A digest of the pixels, and what their labels mean."""
        digest = sha256(np.ascontiguousarray(self.pixels).data).hexdigest()
        return repr((digest, self.pixels.shape, self.classes))

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """The images of these indices."""
        chosen = np.asarray(indices, np.int64)
        return replace(self, pixels=self.pixels[chosen], labels=self.labels[chosen])


Labelled = Listing | Pixels


class OneClassEach(Samples, Protocol):
    """A map-style source whose labels are known without decoding: those two, or one that is drawn."""

    @property
    def labels(self) -> Any:
        """The class of each image ``(n,)``."""
        ...


L = TypeVar("L", bound=Listing | Pixels)


def in_order(images: L, classes: tuple[str, ...]) -> L:
    """The images with their labels as indices of ``classes``, which are their own in any order."""
    if images.classes == classes:
        return images
    indices = np.array([classes.index(name) for name in images.classes], np.int64)
    return replace(images, labels=indices[np.asarray(images.labels)], classes=classes)
