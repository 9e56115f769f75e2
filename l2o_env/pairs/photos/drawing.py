"""Source images: a cut-out on a background, drawn when it is needed, each by random numbers of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l2o_env.pairs.images.image_split import UnreadableError

_TURN = 25.0
"""Largest angle in degrees."""
_SCALES = (0.5, 1.0)
"""Longer side of the cut-out, as a share of the image's."""
_BLUR = 1.2
"""Largest deviation of the blur, in pixels of an image of 96."""
_COLOUR = 0.35
"""Largest change of brightness, contrast and saturation, as a share; of a single channel, half of that."""


class CutOut(NamedTuple):
    """A file with transparency, its class, and the style that it is drawn in."""

    file: Path
    label: int
    style: str


@dataclass(frozen=True, eq=False)
class Drawings:
    """Labelled images, as many of each class as of any other; a map-style source for ``ImageSplit``.

    Attributes:
        cut_outs: What is drawn.
        n: Number of images.
        side: Side of an image, in pixels.
        seed: Image `i` depends on this and `i` alone.
        name: What messages call them.
    """

    cut_outs: Sequence[CutOut]
    n: int
    side: int
    seed: int
    name: str = "drawings"

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """The class of each image: all classes in turn."""
        return np.arange(self.n) % len(self._of_class)

    @cached_property
    def _of_class(self) -> list[list[CutOut]]:
        """Cut-outs by their class."""
        found: list[list[CutOut]] = [[] for _ in range(1 + max(each.label for each in self.cut_outs))]
        for each in self.cut_outs:
            found[each.label].append(each)
        return found

    def __len__(self) -> int:
        """Number of images."""
        return self.n

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """A PIL image and its class.

        Raises:
            UnreadableError: If its cut-out cannot be decoded.
        """
        from PIL import Image

        label = int(self.labels[index])
        rng = np.random.default_rng([self.seed, index])
        ours = self._of_class[label]
        chosen = ours[rng.integers(len(ours))].file
        try:
            with Image.open(chosen) as image:
                cut_out = image.convert("RGBA")
        except OSError as error:
            raise UnreadableError(f"{chosen} cannot be decoded ({error}).") from error
        return draw(cut_out, self.side, rng), label

    def fingerprint(self) -> str:
        """A digest of the names, sizes and times of the cut-outs, and the settings."""
        digest = hashlib.sha256()
        for each in self.cut_outs:
            status = each.file.stat()
            digest.update(f"{each.file} {each.label} {status.st_size} {status.st_mtime_ns}\n".encode())
        return repr((digest.hexdigest(), self.n, self.side, self.seed))


def draw(cut_out: Any, side: int, rng: np.random.Generator) -> Any:
    """Draws a cut-out on a random background: mirrored, turned, scaled, placed, blurred, its colours cast.

    Args:
        cut_out: A PIL image with transparency.
        side: Side of the result, in pixels.
        rng: Random numbers, always as many of them.

    Returns:
        A PIL image in RGB.
    """
    from PIL import Image, ImageFilter, ImageOps

    if rng.random() < 0.5:
        cut_out = ImageOps.mirror(cut_out)
    cut_out = cut_out.rotate(rng.uniform(-_TURN, _TURN), Image.Resampling.BICUBIC, expand=True)
    longer = max(1, round(side * rng.uniform(*_SCALES)))
    cut_out = ImageOps.contain(cut_out, (longer, longer), Image.Resampling.LANCZOS)
    left, top = (round(rng.random() * (side - length)) for length in cut_out.size)
    image = Image.fromarray(_background(side, rng))
    image.paste(cut_out, (left, top), cut_out)
    blur = max(0.0, rng.uniform(-_BLUR, _BLUR)) * side / 96  # none for half of them
    image = image.filter(ImageFilter.GaussianBlur(blur)) if blur else image
    return Image.fromarray(_recoloured(np.asarray(image), rng))


def _background(side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Flat, a gradient, or smooth noise ``(side, side, 3)``."""
    from PIL import Image

    kind, colours, angle = rng.integers(3), rng.uniform(0, 255, (2, 3)), rng.uniform(0, 2 * np.pi)
    cells = int(rng.integers(3, 13))
    noise = rng.uniform(0, 1, (12, 12, 3))[:cells, :cells]
    if kind == 0:
        return np.full((side, side, 3), colours[0], np.uint8)
    if kind == 1:
        x, y = np.meshgrid(*(np.linspace(-0.5, 0.5, side),) * 2)
        share = np.clip(0.5 + (x * np.cos(angle) + y * np.sin(angle)) / np.sqrt(2), 0, 1)[..., None]
    else:
        small = Image.fromarray((noise * 255).astype(np.uint8))
        share = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC)) / 255
    return (colours[0] + share * (colours[1] - colours[0])).astype(np.uint8)


def _recoloured(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    brightness, contrast, saturation = rng.uniform(1 - _COLOUR, 1 + _COLOUR, 3)
    cast = rng.uniform(1 - _COLOUR / 2, 1 + _COLOUR / 2, 3)
    found = pixels.astype(np.float32) * brightness * cast
    found = found.mean() + contrast * (found - found.mean())
    grey = found.mean(-1, keepdims=True)
    return np.clip(grey + saturation * (found - grey), 0, 255).astype(np.uint8)
