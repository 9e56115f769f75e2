"""What lies in folders of images: which folders are classes, which files are images, and which of them are one."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from l2o_env.errors import ConfigError
from l2o_env.pairs.images.decoding import EXTENSIONS
from l2o_env.pairs.images.remembered import keep, place_of, read_kept

_SYSTEM = frozenset({
    "__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__",
})  # fmt: skip
"""Folders that systems make beside what people put there, in small letters."""
_BESIDE = (".txt", ".md", ".json", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".html", ".pdf", ".db", ".ini", ".lnk", "")
"""Endings of files that stand beside images."""
_PARTS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval"})
"""Folders of the parts of a data set, in small letters."""
_SHOWN = 5
_MANY_BYTES = 2**26
"""Reading more than this takes a while."""
_log = logging.getLogger("l2o_env")


def is_hidden(name: str) -> bool:
    """Whether a folder or file is none that its user put there: hidden, or a system's."""
    return name.startswith((".", "~$")) or name.lower() in _SYSTEM


def class_folders(folder: Path) -> list[Path]:
    """The folders of a folder, each of a class, by name.

    Raises:
        ConfigError: If there are fewer than two, or they are parts of a data set instead of classes.
    """
    found = sorted((path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name)), key=_name)
    if not found:
        raise ConfigError(
            f"{folder} has no folders of classes. Expected one folder per class with at least one image each."
        )
    if all(path.name.lower() in _PARTS for path in found):
        raise ConfigError(
            f"{folder} has the folders {', '.join(path.name for path in found)}: parts of a data set, no classes. Give "
            f"one of them, such as {found[0]}."
        )
    if len(found) == 1:
        raise ConfigError(
            f"{folder} has a folder of one class alone, {found[0].name!r}; expected two or more. If it holds the "
            f"classes, give {found[0]}."
        )
    return found


def image_files(folder: Path) -> list[Path]:
    """All images of a folder and of the folders in it, links followed, in the order of their paths.

    Files of other kinds are counted in a warning, unless they are of those that stand beside images.
    """
    images, others = [], Counter[str]()
    for path in _files(folder, {os.path.realpath(folder)}):
        ending = path.suffix.lower()
        if ending in EXTENSIONS:
            images.append(path)
        else:
            others[ending] += 1
    warn_of_others(folder, others)
    return images


def warn_of_others(folder: Path, endings: Counter[str]) -> None:
    """Counts files that are no images in a warning, unless they are of those that stand beside images.

    Args:
        folder: Where they are.
        endings: How many have which ending, in small letters.
    """
    others = Counter({ending: n for ending, n in endings.items() if ending not in _BESIDE})
    if others:
        counted = ", ".join(f"{n} {ending}" for ending, n in others.most_common(_SHOWN))
        _log.warning(
            "Files in %s are left out, because their endings are not of images: %s. Known are %s.",
            folder, counted, ", ".join(EXTENSIONS),
        )  # fmt: skip


def _files(folder: Path, seen: set[str]) -> Iterator[Path]:
    inside = sorted((path for path in folder.iterdir() if not is_hidden(path.name)), key=_name)
    yield from (path for path in inside if path.is_file())
    for path in inside:
        place = os.path.realpath(path)
        if path.is_dir() and place not in seen:  # a link to a folder around it would never end
            yield from _files(path, seen | {place})


def _name(path: Path) -> str:
    return path.name


def copies(files: Sequence[Path]) -> list[str] | None:
    """What tells equal files from each other's: a name for each that copies and links of it have too.

    Files of equal size are read, each once in a process; what was found of many is kept in the cache folder.

    Returns:
        Names, or None if no file is there twice.
    """
    seen = [(str(file), status.st_size, status.st_mtime_ns) for file in files for status in (file.stat(),)]
    by_size: dict[int, list[int]] = defaultdict(list)
    for i, (_, size, _) in enumerate(seen):
        by_size[size].append(i)
    alike = [members for members in by_size.values() if len(members) > 1]
    many = sum(seen[i][1] for members in alike for i in members) > _MANY_BYTES
    place = place_of("copies", repr(seen)) if many else None
    names = None if place is None else _checked(read_kept(place), len(files))
    if names is None:
        names = [str(i) for i in range(len(files))]
        for members in alike:
            first: dict[bytes, int] = {}
            for i in members:
                names[i] = str(first.setdefault(_content(*seen[i]), i))
        if place is not None:
            keep(place, names)
    return names if len(set(names)) < len(names) else None


def _checked(kept: Any, n: int) -> list[str] | None:
    """Names of files; None if nothing is kept, or something else."""
    good = isinstance(kept, list) and len(kept) == n and all(type(name) is str for name in kept)
    return kept if good else None


@cache
def _content(file: str, size: int, time: int) -> bytes:
    """SHA-256 of a file that has this size and time."""
    return hashlib.sha256(Path(file).read_bytes()).digest()
