"""Backgrounds, and how ink is laid on them. Images here are float32 RGB in [0, 1], ``(n, side, side, 3)``."""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from l2o_env.errors import unknown_name

SIDE = 16
BACKGROUNDS = ("flat", "gradient", "noise", "photo")
STYLES = ("difference", "paint", "inverted")
Images = NDArray[np.float32]
Half = Literal["left", "right"]


def backgrounds(kind: str, n: int, rng: np.random.Generator, half: Half = "right", side: int = SIDE) -> Images:
    """Draws backgrounds.

    Args:
        kind: ``"flat"``: one colour each. ``"gradient"``: from one colour to another in any direction.
            ``"noise"``: the mean of one colour and 4x4 random ones, smoothly enlarged. ``"photo"``: patches of two
            photographs.
        n: How many.
        rng: Draws everything.
        half: Half of the photographs that patches are cut from.
        side: Height and width.

    Returns:
        ``(n, side, side, 3)``.

    Raises:
        ConfigError: If the kind is not known.
    """
    if kind == "flat":
        return np.broadcast_to(rng.random((n, 1, 1, 3), dtype=np.float32), (n, side, side, 3))
    if kind == "gradient":
        return _gradients(n, rng, side)
    if kind == "noise":
        flat, noise = rng.random((n, 1, 1, 3), dtype=np.float32), rng.random((n, 4, 4, 3), dtype=np.float32)
        return 0.5 * flat + 0.5 * upsample(noise, side)
    if kind == "photo":
        return _patches(n, rng, half, side)
    raise unknown_name("background", kind, BACKGROUNDS)


def lay_ink(style: str, ink: Images, background: Images, rng: np.random.Generator, min_contrast: float = 0.0) -> Images:
    """Lays ink on backgrounds.

    Args:
        style: ``"difference"``: absolute difference of background and ink, as in MNIST-M. ``"paint"``: one flat
            random colour. ``"inverted"``: the photographic negative of ``"difference"``.
        ink: ``(n, 16, 16)`` in [0, 1].
        background: ``(n, 16, 16, 3)``.
        rng: Draws the colours of ``"paint"``.
        min_contrast: Colours of ``"paint"`` nearer than this to the mean of their background (mean absolute
            difference of the channels) are drawn again.

    Returns:
        ``(n, 16, 16, 3)``.

    Raises:
        ConfigError: If the style is not known.
    """
    opacity = ink[..., None]
    if style == "difference":
        return np.abs(background - opacity)
    if style == "inverted":
        return 1.0 - np.abs(background - opacity)
    if style == "paint":
        return background + opacity * (_colours(background, rng, min_contrast) - background)
    raise unknown_name("style", style, STYLES)


def _colours(background: Images, rng: np.random.Generator, min_contrast: float) -> Images:
    """One random colour per background that is far enough from it: ``(n, 1, 1, 3)``."""
    mean = background.mean((1, 2), keepdims=True)
    colours = rng.random(mean.shape, dtype=np.float32)
    while True:
        near = np.flatnonzero(np.abs(colours - mean).mean((1, 2, 3)) < min_contrast)
        if not len(near):
            return colours
        colours[near] = rng.random((len(near), 1, 1, 3), dtype=np.float32)


def upsample(small: NDArray[np.float32], side: int = SIDE) -> Images:
    """Enlarges ``(n, s, s, …)`` to ``(n, side, side, …)``, bilinear with half-pixel centres."""
    weights = _bilinear(small.shape[1], side)
    return np.einsum("ri,cj,nij...->nrc...", weights, weights, small, optimize=True).astype(np.float32)


@cache
def _bilinear(size: int, side: int) -> NDArray[np.float32]:
    """Interpolation weights ``(side, size)``."""
    centres = (np.arange(side) + 0.5) * size / side - 0.5
    distance = np.abs(np.clip(centres, 0, size - 1)[:, None] - np.arange(size)[None, :])
    return np.maximum(0.0, 1.0 - distance).astype(np.float32)


def _gradients(n: int, rng: np.random.Generator, side: int) -> Images:
    ends = rng.random((2, n, 1, 1, 3), dtype=np.float32)
    angle = rng.uniform(0.0, 2.0 * np.pi, (n, 1, 1))
    grid = np.linspace(-1.0, 1.0, side)
    along = (np.cos(angle) * grid[None, None, :] + np.sin(angle) * grid[None, :, None]) / np.sqrt(2.0)
    mix = (0.5 + 0.5 * along)[..., None].astype(np.float32)
    return ends[0] + mix * (ends[1] - ends[0])


@cache
def photographs() -> tuple[NDArray[np.uint8], ...]:
    """The two photographs that ship with scikit-learn, ``(height, width, 3)``."""
    from sklearn.datasets import load_sample_images

    return tuple(load_sample_images().images)


def _patches(n: int, rng: np.random.Generator, half: Half, side: int) -> Images:
    """Squares at random places of one half, so that the other half's are never seen."""
    images = np.stack(photographs())
    height, middle = images.shape[1], images.shape[2] // 2
    which = rng.integers(len(images), size=n)
    top = rng.integers(height - side + 1, size=n)
    left = rng.integers(middle - side + 1, size=n) + (middle if half == "right" else 0)
    offset = np.arange(side)
    rows, columns = top[:, None, None] + offset[None, :, None], left[:, None, None] + offset[None, None, :]
    return images[which[:, None, None], rows, columns].astype(np.float32) / 255.0
