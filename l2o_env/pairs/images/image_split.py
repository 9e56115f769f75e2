"""Labelled images that are decoded on demand: any map-style source, in one size, with a cache of bytes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from l2o_env.errors import ConfigError, require_integers
from l2o_env.models.adapted.normalisation import IMAGENET
from l2o_env.models.losses import IGNORED
from l2o_env.pairs.augmentation import VOID, Augmentation, Draws, crop, mirrored, recolour

IMAGENET_MEAN, IMAGENET_STD = IMAGENET


class UnreadableError(ConfigError):
    """An image or a mask that cannot be used; the message names its file."""


class Samples(Protocol):
    """A map-style source, such as any dataset of torchvision without transforms."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """A PIL image, and its class or its mask (a PIL image or array of class indices, 255 for none)."""
        ...


class Sample(NamedTuple):
    """A decoded image ``(3, h, w)``, uint8, and its class ``()``, int64, or mask ``(h, w)``, uint8."""

    image: Tensor
    label: Tensor


@dataclass(frozen=True)
class Size:
    """How images come to one size.

    Attributes:
        resize: Length of the shorter side, in pixels; 0 keeps the image as it is.
        crop: Side of a square at the centre; 0 keeps all. A larger one than the image is filled with black, which no
            loss counts in a segmentation.
    """

    resize: int = 0
    crop: int = 0

    def __post_init__(self) -> None:
        """Raises ``ConfigError`` if a length cannot be."""
        require_integers(self, "resize", "crop", least=0, expected="a number of pixels, or 0 for none")

    def apply(self, image: Any, mask: Any | None) -> tuple[Any, Any | None]:
        """Resizes and crops a PIL image and its PIL mask."""
        from torchvision.transforms.v2 import InterpolationMode, functional

        if self.resize:
            image = functional.resize(image, [self.resize])
            if mask is not None:
                mask = functional.resize(mask, list(image.size[::-1]), InterpolationMode.NEAREST)
        if self.crop:
            if min(image.size) < self.crop:
                image, mask = self._padded(image, 0), None if mask is None else self._padded(mask, VOID)
            image = functional.center_crop(image, [self.crop, self.crop])
            mask = None if mask is None else functional.center_crop(mask, [self.crop, self.crop])
        return image, mask

    def _padded(self, image: Any, fill: int) -> Any:
        from torchvision.transforms.v2 import functional

        missing = [max(0, self.crop - length) for length in image.size]
        left, top = (length // 2 for length in missing)
        return functional.pad(image, [left, top, missing[0] - left, missing[1] - top], fill=fill)


@dataclass(eq=False)
class ImageSplit:
    """Labelled images that are decoded when they are needed.

    Attributes:
        samples: Where they come from.
        labels: Classes ``(n,)``, int64, as far as they are known without decoding; None for masks.
        size: How they come to one size; this is what the cache holds.
        augmentation: What is done to them anew each time, for training only.
        mean: Subtracted from RGB in [0, 1].
        std: Divides the difference.
        cache_bytes: Decoded images are kept in memory, as bytes, up to this much.
        name: What messages call it.
    """

    samples: Samples
    labels: Tensor | None
    size: Size = field(default_factory=Size)
    augmentation: Augmentation = field(default_factory=Augmentation)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    cache_bytes: int = 4 * 2**30
    name: str = "images"

    def __post_init__(self) -> None:
        """Raises ``ConfigError`` if there are no images."""
        if not len(self.samples):
            raise ConfigError(f"There are no {self.name}; expected at least one.")
        self._cache: dict[int, Sample] = {}
        self._cached_bytes = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """All but the cache and its lock: a split is sent to other processes without what it has decoded."""
        return {key: value for key, value in vars(self).items() if not key.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes that up, with an empty cache."""
        vars(self).update(state)
        self.__post_init__()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.samples)

    @property
    def side(self) -> int:
        """Side of the square images, in pixels; 0 where images keep their own size."""
        return self.augmentation.crop or self.size.crop

    @property
    def random(self) -> bool:
        """Whether an image differs from one use to the next."""
        return self.augmentation.random

    def base(self, index: int) -> Sample:
        """A decoded image in its size, before augmentation; from the cache if it is there.

        Raises:
            UnreadableError: If it cannot be decoded.
        """
        sample = self._cache.get(index)
        if sample is None:
            # Without the lock, so that threads decode side by side; seldom two of them the same image.
            sample = self._decode(index)
            n_bytes = sample.image.nbytes + sample.label.nbytes
            with self._lock:
                if self._cached_bytes + n_bytes <= self.cache_bytes and index not in self._cache:
                    self._cache[index] = sample
                    self._cached_bytes += n_bytes
        return sample

    def _decode(self, index: int) -> Sample:
        from PIL import Image

        try:
            image, label = self.samples[index]
        except UnreadableError as error:  # all files were whole when the pair was built
            raise UnreadableError(
                f"{error} Mend or remove it and start again; with on_error=skip, such images are left out then."
            ) from error
        dense = not isinstance(label, int | np.integer)
        mask = Image.fromarray(np.asarray(label)) if dense and not isinstance(label, Image.Image) else label
        if dense and mask.size != image.size:
            raise UnreadableError(f"Image {index} of the {self.name} is {image.size} pixels, its mask {mask.size}.")
        image, mask = self.size.apply(image.convert("RGB"), mask if dense else None)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return Sample(pixels, torch.from_numpy(np.array(mask)) if dense else torch.tensor(int(label)))

    def read(self, index: int, draws: Draws | None = None, k: int = 0) -> Sample:
        """An image as a batch takes it up.

        Args:
            index: Which.
            draws: Random numbers of its batch; None: no augmentation, and the crop at the centre.
            k: Its place in the batch.
        """
        sample = self.base(index)
        if not self.augmentation.crop:
            return sample
        mask = sample.label if sample.label.dim() else None
        scale, place = (1.0, np.full(2, 0.5)) if draws is None else (float(draws.scale[k]), draws.place[k])
        image, mask = crop(sample.image, mask, self.augmentation.crop, scale, place)
        return Sample(image, sample.label if mask is None else mask)

    def finish(
        self, images: Tensor, labels: Tensor, dtype: torch.dtype, draws: Draws | None = None
    ) -> tuple[Tensor, Tensor]:
        """What is done to a whole batch, on its device.

        Args:
            images: ``(n, 3, h, w)``, uint8.
            labels: ``(n,)``, int64, or ``(n, h, w)``, uint8.
            dtype: Floating-point type of the result.
            draws: Random numbers of the batch; None: no augmentation.

        Returns:
            Normalised images, and labels in int64 with ``IGNORED`` for pixels without a class.
        """
        from torchvision.transforms.v2 import functional

        images = functional.to_dtype_image(images, dtype, scale=True)
        if labels.dtype == torch.uint8:
            labels = labels.long()
            labels = torch.where(labels == VOID, IGNORED, labels)
        if draws is not None:
            images = mirrored(recolour(images, draws), draws)
            labels = mirrored(labels, draws) if labels.dim() > 1 else labels
        return functional.normalize_image(images, list(self.mean), list(self.std)), labels

    def fingerprint(self) -> str:
        """A text that changes with the images, their labels or their settings."""
        of_samples = getattr(self.samples, "fingerprint", lambda: f"{type(self.samples).__name__} {len(self)}")()
        labels = None if self.labels is None else self.labels.tolist()
        return repr((of_samples, labels, self.size, self.augmentation, self.mean, self.std))

    def subset(self, indices: Sequence[int], **changes: Any) -> ImageSplit:
        """The images of these indices, with other settings if any are given."""
        from torch.utils.data import Subset

        chosen = torch.as_tensor(list(indices))
        settings: dict[str, Any] = {
            key: getattr(self, key) for key in ("size", "augmentation", "mean", "std", "cache_bytes", "name")
        }
        labels = None if self.labels is None else self.labels[chosen]
        return ImageSplit(Subset(self.samples, chosen.tolist()), labels, **{**settings, **changes})  # type: ignore[arg-type]
