"""Random views of images that are float tensors already.

RandAugment, which CSG uses, works on 8-bit images and draws from the global generators. These are its operations that
make sense for images of any size and range, with random numbers from a generator of one's own: rotation, shear,
translation, scale, contrast and brightness, all of them at once and mild. No mirroring: it would change what a digit or
a traffic sign says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


@dataclass(frozen=True)
class Strength:
    """How far views may be from their image; each value is drawn uniformly, to both sides."""

    rotation: float = 15.0
    """Degrees."""
    shear: float = 0.15
    """Tangent of the angle."""
    translation: float = 0.1
    """Share of the image's side."""
    scale: float = 0.15
    """Natural logarithm of the factor."""
    contrast: float = 0.3
    """Natural logarithm of the factor around the image's mean."""
    brightness: float = 0.3
    """In standard deviations of the image."""


def random_view(images: Tensor, rng: np.random.Generator, strength: Strength | None = None) -> Tensor:
    """A random view of each image, by bilinear interpolation; what comes from outside repeats the border.

    Args:
        images: ``(n, channels, height, width)``.
        rng: Draws everything.
        strength: How far views may be from their image.
    """
    strength = strength or Strength()
    drawn = torch.as_tensor(rng.uniform(-1, 1, (7, len(images))), device=images.device, dtype=images.dtype)
    angle, shear, dx, dy, scale, contrast, brightness = drawn
    angle = angle * (strength.rotation * np.pi / 180)
    scale = (scale * strength.scale).exp()
    cos, sin = angle.cos() * scale, angle.sin() * scale
    shear = shear * strength.shear
    # Places of the view to places of the image, in units of half the side.
    rows = (
        torch.stack([cos, shear * cos - sin, 2 * strength.translation * dx], -1),
        torch.stack([sin, shear * sin + cos, 2 * strength.translation * dy], -1),
    )
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    mean, std = moved.mean((1, 2, 3), keepdim=True), moved.std((1, 2, 3), keepdim=True)
    factor = (contrast * strength.contrast).exp()[:, None, None, None]
    return mean + (moved - mean) * factor + (brightness * strength.brightness)[:, None, None, None] * std
