"""Seeded augmentation: crops where an image is read, mirroring and colours for the whole batch on the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.errors import ConfigError

VOID = 255
"""Value of ignored pixels in masks of bytes."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to a training image anew each time that it is used.

    Attributes:
        crop: Side of a square crop at a random place, in pixels; 0: none. What the image lacks is filled with black,
            which no loss counts in a segmentation.
        scales: The image is enlarged by one of these factors before it is cropped.
        mirror: Whether half of the images are mirrored.
        brightness: Factors are drawn from 1 - brightness to 1 + brightness, one per image.
        contrast: Likewise.
        saturation: Likewise.

    Raises:
        ConfigError: If a value cannot work.
    """

    crop: int = 0
    scales: tuple[float, ...] = (1.0,)
    mirror: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise ConfigError(f"scales is {self.scales!r}; expected at least one factor above 0.")
        if self.scales != (1.0,) and not self.crop:
            raise ConfigError(
                f"scales is {self.scales!r} without a crop (random_crop); images of one batch need one "
                "size: give a crop, or scales=1."
            )
        for key in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(f"{key} is {getattr(self, key)!r}; expected a number from 0 to 1.")

    @property
    def random(self) -> bool:
        """Whether it does anything."""
        return self != Augmentation()


@dataclass(frozen=True)
class Draws:
    """The random numbers of one batch of n images.

    Attributes:
        scale: Enlargement of each image, ``(n,)``.
        place: Where the crop lies between top left (0, 0) and bottom right (1, 1), ``(n, 2)``.
        mirror: Which images are mirrored, ``(n,)``.
        colour: Factors of brightness, contrast and saturation, ``(n, 3)``.
    """

    scale: NDArray[np.float64]
    place: NDArray[np.float64]
    mirror: NDArray[np.bool_]
    colour: NDArray[np.float64]


def draw(augmentation: Augmentation, n: int, seed: int, update: int) -> Draws:
    """Draws for the batch of one update: the same seed and update give the same numbers, in any order of calls."""
    rng = np.random.default_rng([seed, update])
    strength = [augmentation.brightness, augmentation.contrast, augmentation.saturation]
    return Draws(
        scale=rng.choice(np.array(augmentation.scales, float), n),
        place=rng.random((n, 2)),
        mirror=(rng.random(n) < 0.5) & augmentation.mirror,
        colour=1 + rng.uniform(-1, 1, (n, 3)) * strength,
    )


def crop(
    image: Tensor, mask: Tensor | None, side: int, scale: float, place: NDArray[np.float64]
) -> tuple[Tensor, Tensor | None]:
    """Cuts a square out of an enlarged image.

    Only what is cut out is enlarged. Images are interpolated, masks take the nearest pixel.

    Args:
        image: ``(3, height, width)``, uint8.
        mask: ``(height, width)``, uint8, or None.
        side: Side of the result, in pixels.
        scale: Enlargement.
        place: Two numbers from 0 (top, left) to 1 (bottom, right).

    Returns:
        ``(3, side, side)``, and the mask ``(side, side)`` or None.
    """
    from torchvision.transforms.v2 import InterpolationMode, functional

    window = max(1, round(side / scale))
    height, width = image.shape[1:]
    top, left = (round(p * max(0, length - window)) for p, length in zip(place, (height, width), strict=True))
    box = top, left, min(window, height), min(window, width)
    missing = [0, 0, max(0, window - width), max(0, window - height)]  # at the right and below: black, of no class
    image = functional.pad_image(functional.crop_image(image, *box), missing)
    image = functional.resize_image(image, [side, side], antialias=True)
    if mask is not None:
        mask = functional.pad_mask(functional.crop_mask(mask, *box), missing, fill=VOID)
        mask = functional.resize_image(mask[None], [side, side], InterpolationMode.NEAREST)[0]
    return image, mask


def recolour(images: Tensor, draws: Draws) -> Tensor:
    """Changes brightness, contrast and saturation of ``(n, 3, h, w)`` in [0, 1], on any device, in this order."""
    if (draws.colour == 1).all():
        return images
    from torchvision.transforms.v2 import functional

    factors = torch.as_tensor(draws.colour, dtype=images.dtype, device=images.device)[:, :, None, None, None]
    images = (images * factors[:, 0]).clamp(0, 1)
    mean = functional.rgb_to_grayscale(images).mean((-3, -2, -1), keepdim=True)
    images = (mean + (images - mean) * factors[:, 1]).clamp(0, 1)
    grey = functional.rgb_to_grayscale(images)
    return (grey + (images - grey) * factors[:, 2]).clamp(0, 1)


def mirrored(images: Tensor, draws: Draws) -> Tensor:
    """Mirrors the images or masks ``(n, ..., width)`` that were drawn to be."""
    if not draws.mirror.any():
        return images
    chosen = torch.as_tensor(draws.mirror, device=images.device)
    return torch.where(chosen.reshape(-1, *[1] * (images.dim() - 1)), images.flip(-1), images)
