"""Puts the data set together, in folders of classes: cut-outs and photographs, from packages that are there."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from l2o_env.errors import ConfigError
from l2o_env.pairs.photos.clipart_photos import STYLES
from l2o_env.pairs.photos.manifest import ORIGINS, Entry, classes, entries, entries_of
from l2o_env.pairs.photos.packages import find, opened

ORIGINS_FILE = "origins.csv"
"""Names the package, the original and the licence of each image."""
CUT_OUT_SIDE, PHOTOGRAPH_SIDE = 112, 128
"""Pixels."""
_GREY, _MARGIN = 236, 0.08
_ROOM = 64 * 2**20
"""Bytes that have to be free."""
_ENOUGH = 0.5
"""Share of a package's images below which it counts as another package."""


@dataclass
class Found:
    """What came of a package.

    Attributes:
        style: Its images' style.
        made: Images that were made.
        missing: Names of images that the package does not hold.
        other: Names of images whose content is not what it was when the list was made; they are made all the same.
        damaged: Names of images that cannot be decoded.
        absent: Whether the package is nowhere.
    """

    style: str
    made: int = 0
    missing: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    absent: bool = False


def assemble(root: Path, packages: Sequence[Path], progress: Callable[[int, int], None] | None = None) -> list[Found]:
    """Makes the data set as a whole, or leaves everything as it was.

    Args:
        root: Where it goes; a data set that was made there before is replaced.
        packages: Folders that packages are unpacked into; see :func:`l2o_env.pairs.photos.packages.find`.
        progress: Called with the images made, and all of them.

    Returns:
        What came of each package.

    Raises:
        ConfigError: If the packages that are there do not suffice, there is no room, or `root` holds something else.
        OSError: If the disk cannot be written to.
    """
    if root.exists() and not (root / ORIGINS_FILE).is_file() and any(root.iterdir()):
        raise ConfigError(f"{root} holds something that `l2o data` did not make; name another folder with --out.")
    root.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root.parent).free
    if free < _ROOM:
        raise ConfigError(f"There are {free / 2**20:.0f} MiB free at {root.parent}; the data set takes up to 64.")
    with tempfile.TemporaryDirectory(prefix=".clipart-photos-", dir=root.parent) as folder:
        new = Path(folder) / "new"
        found = _made(new, packages, progress or (lambda done, total: None))
        _require_enough(found, new)
        if root.exists():
            os.replace(root, Path(folder) / "old")
        os.replace(new, root)
    return found


def _made(root: Path, packages: Sequence[Path], progress: Callable[[int, int], None]) -> list[Found]:
    rows: list[tuple[str, ...]] = []
    results = []
    n_all = len(entries())
    for style, origin in ORIGINS.items():
        result, reader = Found(style), find(style, packages)
        results.append(result)
        ours = entries_of(style)
        result.absent = reader is None
        numbers: Counter[str] = Counter()
        for entry in ours if reader is not None else ():
            assert reader is not None
            content = reader.read(entry.original)
            if content is None:
                result.missing.append(entry.original)
                continue
            try:
                image = _prepared(entry, opened(content))
            except OSError:
                result.damaged.append(entry.original)
                continue
            if hashlib.sha256(content).hexdigest()[: len(entry.sha256)] != entry.sha256:
                result.other.append(entry.original)
            suffix = ".png" if origin.part == "source" else ".jpg"
            path = root / origin.part / entry.label / f"{style}-{numbers[entry.label]:03d}{suffix}"
            numbers[entry.label] += 1
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, quality=95)
            licence = reader.licence(entry.original) or origin.licence
            rows.append((str(path.relative_to(root)), origin.package, entry.original, licence))
            result.made += 1
            progress(len(rows), n_all)
    root.mkdir(parents=True, exist_ok=True)
    with (root / ORIGINS_FILE).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("file", "package", "original", "licence"), *rows])
    return results


def _prepared(entry: Entry, image: Any) -> Any:
    """A cut-out in a square with transparency, or a square photograph."""
    from PIL import Image, ImageOps

    if entry.part == "source":
        image = image.crop(image.getchannel("A").point(lambda alpha: 255 * (alpha > 8)).getbbox())
        return ImageOps.pad(image, (CUT_OUT_SIDE, CUT_OUT_SIDE), Image.Resampling.LANCZOS, color=(0, 0, 0, 0))
    if entry.style == "gcompris":
        return ImageOps.fit(image.convert("RGB"), (PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE), Image.Resampling.LANCZOS)
    side = round(max(image.size) * (1 + 2 * _MARGIN))
    ground = Image.new("RGB", (side, side), (_GREY,) * 3)
    ground.paste(image, ((side - image.size[0]) // 2, (side - image.size[1]) // 2), image)
    return ground.resize((PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE), Image.Resampling.LANCZOS)


def _require_enough(found: Sequence[Found], root: Path) -> None:
    """Raises ``ConfigError`` unless each class can be trained on and, in another style, validated."""
    for each in found:
        n = len(entries_of(each.style))
        if not each.absent and each.made < _ENOUGH * n:
            raise ConfigError(
                f"{ORIGINS[each.style].package} was found, with {each.made} of the {n} images that it should hold; is "
                f"it unpacked as a whole? Missing are {', '.join(each.missing[:3])} and others."
            )
    styles = [each.style for each in found if each.made and each.style in STYLES]
    if len(styles) < 2:
        absent = [each.style for each in found if each.absent and each.style in STYLES]
        there, more = ("is one", "one") if styles else ("is none", "two")
        raise ConfigError(
            f"Two packages of cut-outs are needed, one to train on and another to validate on; there {there}. Install "
            f"{more} more: {'; '.join(how_to_install(s) for s in absent)}. What is unpacked is named by --packages DIR."
        )
    for label in classes():
        drawn = {path.name.partition("-")[0] for path in (root / "source" / label).glob("*.png")}
        if len(drawn) < 2:
            raise ConfigError(f"There are cut-outs of {label!r} in one style only; install more packages.")


def how_to_install(style: str) -> str:
    """What gives a package."""
    return f"{ORIGINS[style].package} ({ORIGINS[style].install})"
