"""Reads images from where packages have them: installed, or unpacked into folders."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from l2o_env.errors import ConfigError
from l2o_env.extras import require
from l2o_env.pairs.photos.qt_resources import QtResources

SYSTEM = Path("/")
"""Where Debian's packages are installed."""


class _Place(NamedTuple):
    """Where a package keeps its images, below the folder that it is unpacked into."""

    path: str
    reader: Callable[[Path], Reader]


class Reader:
    """Images that are files of a folder.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str) -> bytes | None:
        """The file of an image; None if there is none."""
        file = self._file(name)
        return file.read_bytes() if file.is_file() else None

    def licence(self, name: str) -> str:
        """What the package itself says of an image; empty if that is what it says of all."""
        return ""

    def _file(self, name: str) -> Path:
        return self.path / name


class _Emoji(Reader):
    """The same, named by code point."""

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.webp"


class _Font(Reader):
    """Pictures of a font's characters (table CBDT)."""

    def read(self, name: str) -> bytes | None:
        glyph = self._names.get(int(name.partition("-")[0], 16))
        image = self._strike.get(glyph)
        return None if image is None else bytes(image.imageData)

    @cached_property
    def _font(self) -> Any:
        fonts = require("fontTools.ttLib", extra="photos", what="l2o data")
        try:
            return fonts.TTFont(self.path)
        except Exception as error:  # fontTools' readers raise many kinds
            raise ConfigError(f"{self.path} cannot be read as a font ({error}); install its package again.") from error

    @cached_property
    def _names(self) -> Mapping[int, str]:
        return self._font.getBestCmap()

    @cached_property
    def _strike(self) -> Mapping[Any, Any]:
        if "CBDT" not in self._font:
            raise ConfigError(f"{self.path} has no pictures (table CBDT); the version with outlines is another file.")
        return self._font["CBDT"].strikeData[0]


class _GCompris(Reader):
    """Pictures of activities, each of which has a resource file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._opened: dict[str, QtResources | None] = {}

    def read(self, name: str) -> bytes | None:
        activity = name.partition("/")[0]
        if activity not in self._opened:
            file = self.path / f"{activity}.rcc"
            self._opened[activity] = QtResources(file) if file.is_file() else None
        resources, inside = self._opened[activity], f"gcompris/src/activities/{name}"
        return None if resources is None or inside not in resources else resources.read(inside)

    def licence(self, name: str) -> str:
        """By the file README above it: blocks of ``License: …`` and the files that it is of."""
        path = PurePosixPath(name)
        for folder in path.parents:
            text = self.read(str(folder / "README"))
            for block in (text or b"").decode(errors="replace").split("\n\n"):
                if str(path.relative_to(folder)) in block.split("\n"):
                    return next((line[9:] for line in block.split("\n") if line.startswith("License: ")), "")
        return ""


_PLACES: dict[str, _Place] = {
    "fluent": _Place("assets/1f600.webp", lambda path: _Emoji(path.parent)),
    "noto": _Place("share/fonts/truetype/noto/NotoColorEmoji.ttf", _Font),
    "openclip": _Place("share/openclipart/png", Reader),
    "tuxpaint": _Place("share/tuxpaint/stamps", Reader),
    "gcompris": _Place("share/gcompris-qt/rcc", _GCompris),
}


def find(style: str, folders: Sequence[Path]) -> Reader | None:
    """What reads the images of a package; None if it is in none of the folders.

    Args:
        style: A key of ``ORIGINS``.
        folders: Folders that packages are unpacked into, each into its own or all into one; where they are installed is
            looked at besides.
    """
    place = _PLACES[style]
    for folder in (*folders, SYSTEM / "usr"):
        for found in (folder / place.path, folder / "usr" / place.path, *_deeper(folder, place.path)):
            if found.exists():
                return place.reader(found)
    return None


def _deeper(folder: Path, path: str) -> list[Path]:
    """The place in a folder of a folder, and in npm's ``package``; not in all of a file system."""
    if folder == SYSTEM / "usr" or not folder.is_dir():
        return []
    inner = sorted(each for each in folder.iterdir() if each.is_dir())
    return [each / between / path for each in inner for between in ("", "usr", "package")]


def opened(content: bytes) -> Any:
    """A decoded PIL image with transparency.

    Raises:
        OSError: If it is damaged.
    """
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        return image.convert("RGBA")
