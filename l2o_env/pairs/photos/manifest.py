"""Which images of which packages the data set is made of."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple

Part = Literal["source", "target"]


class Origin(NamedTuple):
    """Where a style of images comes from.

    Attributes:
        part: Whether they are cut-outs to draw with, or photographs.
        package: What is to be installed, in words.
        version: Of the package, when the list of images was made.
        install: What to type.
        licence: In words.
        what: What they are.
    """

    part: Part
    package: str
    version: str
    install: str
    licence: str
    what: str


ORIGINS: dict[str, Origin] = {
    "fluent": Origin(
        "source", "npm @lobehub/fluent-emoji-3d", "1.1.0", "npm pack @lobehub/fluent-emoji-3d@1.1.0, then tar xf",
        "MIT", "emoji that look three-dimensional",
    ),
    "noto": Origin(
        "source", "Debian fonts-noto-color-emoji", "2.042", "apt install fonts-noto-color-emoji",
        "SIL Open Font License 1.1", "emoji of a font",
    ),
    "openclip": Origin(
        "source", "Debian openclipart-png", "0.18", "apt install openclipart-png", "public domain", "clip art",
    ),
    "tuxpaint": Origin(
        "target", "Debian tuxpaint-stamps-default", "2022.06.04", "apt install tuxpaint-stamps-default",
        "GPL-2 for the whole", "photographs cut out, here on light grey",
    ),
    "gcompris": Origin(
        "target", "Debian gcompris-qt-data", "3.1", "apt install gcompris-qt-data",
        "mostly public domain and CC0, a few CC BY-SA 4.0; a list is in each folder of the package",
        "photographs with their backgrounds",
    ),
}  # fmt: skip
"""Packages, by what the images of each are called."""


class Entry(NamedTuple):
    """An image.

    Attributes:
        part: Source or target.
        label: Name of its class.
        style: A key of ``ORIGINS``.
        original: Its name in the package.
        sha256: The first 16 digits of the original's SHA-256.
    """

    part: Part
    label: str
    style: str
    original: str
    sha256: str


@cache
def entries() -> tuple[Entry, ...]:
    """All images of the data set."""
    text = files("l2o_env.pairs.photos").joinpath("manifest.csv").read_text(encoding="utf-8")
    return tuple(Entry(*row) for row in list(csv.reader(text.splitlines()))[1:])  # type: ignore[arg-type]


def entries_of(style: str) -> list[Entry]:
    """Those of a style."""
    return [entry for entry in entries() if entry.style == style]


def classes() -> tuple[str, ...]:
    """Names of the classes."""
    return tuple(sorted({entry.label for entry in entries()}))
