"""Decodes image files to what a viewer shows, and masks to the values that they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2o_env.pairs.images.image_split import UnreadableError

EXTENSIONS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".ppm", ".pgm", ".pbm", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2",
    ".avif", ".tga",
)  # fmt: skip
"""Endings of files that are images, in small letters; of moving ones the first picture counts."""
_16_BIT = ("I;16", "I;16B", "I;16L", "I;16N")
_WHITE = (255, 255, 255, 255)
_PHOTOMETRIC = 262
"""The tag of TIFF files that tells whether 0 is black or white; Pillow heeds it in images of 8 bits alone."""


def read_image(path: Path) -> Any:
    """A decoded PIL image in RGB, as a viewer shows it.

    It is turned as its EXIF orientation says, 16 bits become 8, and what is transparent lies on white.

    Raises:
        UnreadableError: If the file cannot be decoded, or its pixels have no known range.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            white_is_zero = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0
            return _rgb(ImageOps.exif_transpose(image), path, white_is_zero)
    except UnreadableError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds
        raise _unreadable(path, error) from error


def read_mask(path: Path) -> NDArray[np.int64]:
    """The values of a mask ``(height, width)``; indices of a palette, not its colours.

    Raises:
        UnreadableError: If the file cannot be decoded, has several channels, is a JPEG, or holds
            fractions.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            if image.format in ("JPEG", "MPO"):
                raise UnreadableError(f"The mask {path} is a JPEG, which changes values; save it as PNG.")
            values = np.asarray(ImageOps.exif_transpose(image))
    except UnreadableError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    if values.ndim != 2:
        raise UnreadableError(f"The mask {path} has {values.shape[-1]} channels; expected one, of label ids.")
    if values.dtype.kind == "f":
        raise UnreadableError(f"The mask {path} holds fractions; expected whole numbers, label ids.")
    return values.astype(np.int64)


def _rgb(image: Any, path: Path, white_is_zero: bool) -> Any:
    from PIL import Image

    if image.mode in _16_BIT or image.mode == "I":
        values = np.asarray(image).astype(np.int64)
        if image.mode == "I" and (values.min() < 0 or values.max() > 2**16 - 1):
            raise UnreadableError(f"{path} has pixels of 32 bits, whose range nobody knows; save it with 8 or 16 bits.")
        if white_is_zero:
            values = 2**16 - 1 - values
        if "transparency" in image.info:  # of one value
            values[values == image.info["transparency"]] = 2**16 - 1
        return Image.fromarray((values / 257).round().astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise UnreadableError(f"{path} has fractions as pixels, whose range nobody knows; save it with 8 or 16 bits.")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        shown = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", shown.size, _WHITE), shown).convert("RGB")
    return image.convert("RGB")


def _unreadable(path: Path, error: Exception) -> UnreadableError:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        reason = "it is no image, or of a format that Pillow does not know"
    elif isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    else:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UnreadableError(f"{path} cannot be decoded ({reason}).")
