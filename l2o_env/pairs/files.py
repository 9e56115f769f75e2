"""Labelled images in files: listings, what is checked before a training starts, and reading."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from l2o_env.errors import ConfigError, unknown_name
from l2o_env.pairs.images import UnreadableError
from l2o_env.pairs.labels import LabelMap

OnError = Literal["raise", "skip"]
_SHOWN = 5
_SAMPLED_MASKS = 4
_log = logging.getLogger("l2o_env")


@dataclass(frozen=True, eq=False)
class Listing:
    """Image files and what is known of them.

    Attributes:
        files: The images.
        labels: The class of each; or the file of its mask.
        classes: Names of the classes, in the order of their indices.
        groups: What belongs together (frames of one sequence, views of one model) and must not be divided between
            training and validation, by a name for each image; None: every image stands alone.
        label_map: What the masks' values mean; None for one class per image.
        name: What messages call it.
    """

    files: Sequence[Path]
    labels: NDArray[np.int64] | Sequence[Path]
    classes: tuple[str, ...]
    groups: Sequence[str] | None = None
    label_map: LabelMap | None = None
    name: str = "images"

    @property
    def dense(self) -> bool:
        """Whether every pixel has a class."""
        return self.label_map is not None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """A PIL image and its class, or its mask as class indices with 255 for none.

        Raises:
            UnreadableError: If a file cannot be decoded or a mask does not fit.
        """
        image = read_image(self.files[index])
        if self.label_map is None:
            return image, int(np.asarray(self.labels)[index])
        path = Path(self.labels[index])
        mask = self.label_map.apply(read_mask(path), path)
        if mask.shape != image.size[::-1]:
            raise _sizes_differ(self.files[index], image.size, path, mask.shape[::-1])
        return image, mask

    def fingerprint(self) -> str:
        """Names, sizes and times of the files, and what their labels mean."""
        masks = [Path(path) for path in self.labels] if self.dense else []
        found = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in (*self.files, *masks)]
        return repr((found, self.classes, self.label_map))

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> Listing:
        """The images of these indices."""
        chosen = [int(i) for i in indices]
        labels = [self.labels[i] for i in chosen] if self.dense else np.asarray(self.labels)[chosen]
        groups = None if self.groups is None else [self.groups[i] for i in chosen]
        return replace(self, files=[self.files[i] for i in chosen], labels=labels, groups=groups)


def read_image(path: Path) -> Any:
    """A decoded PIL image in RGB.

    Raises:
        UnreadableError: If the file cannot be decoded.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except Exception as error:  # Pillow's decoders raise many kinds
        raise _unreadable(path, error) from error


def read_mask(path: Path) -> NDArray[np.int64]:
    """The values of a mask ``(height, width)``; indices of a palette, not its colours.

    Raises:
        UnreadableError: If the file cannot be decoded or has several channels.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            values = np.asarray(image)
    except Exception as error:
        raise _unreadable(path, error) from error
    if values.ndim != 2:
        raise UnreadableError(f"The mask {path} has {values.shape[-1]} channels; expected one, of label ids.")
    return values.astype(np.int64)


def verified(listing: Listing, on_error: OnError) -> Listing:
    """Looks at every file before a training starts.

    With ``"raise"`` only the headers are read: a file that is no image, or a mask of another size, is found in a
    moment, one that is damaged further on when it is decoded. With ``"skip"`` everything is decoded, and what fails
    is left out, counted and logged.

    Raises:
        UnreadableError: If a file cannot be used and ``on_error`` is ``"raise"``, or none can.
        ConfigError: If ``on_error`` is no such name.
    """
    if on_error not in get_args(OnError):
        raise unknown_name("on_error", on_error, get_args(OnError))
    check = partial(_decode if on_error == "skip" else _look_at, listing)
    problems = dict(_in_threads(check, len(listing)))
    if on_error == "raise" and not problems and listing.dense:
        for i in range(min(_SAMPLED_MASKS, len(listing))):
            listing[i]  # a wrong label map shows in the first masks
    if not problems:
        return listing
    told = " ".join(str(error) for error in list(problems.values())[:_SHOWN])
    more = f" And {len(problems) - _SHOWN} more." if len(problems) > _SHOWN else ""
    counted = f"{len(problems)} of {len(listing)} {listing.name} cannot be used"
    if on_error == "raise" or len(problems) == len(listing):
        hint = " Mend or remove them, or give on_error=skip." if on_error == "raise" else ""
        raise UnreadableError(f"{counted}. {told}{more}{hint}")
    _log.warning("%s and are skipped. %s%s", counted, told, more)
    return listing.take([i for i in range(len(listing)) if i not in problems])


def _in_threads(check: Callable[[int], ConfigError | None], n: int) -> list[tuple[int, ConfigError]]:
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        return [(i, error) for i, error in enumerate(pool.map(check, range(n))) if error is not None]


def _decode(listing: Listing, index: int) -> ConfigError | None:
    try:
        listing[index]
    except ConfigError as error:
        return error
    return None


def _look_at(listing: Listing, index: int) -> ConfigError | None:
    from PIL import Image

    files = [listing.files[index], *([Path(listing.labels[index])] if listing.dense else [])]
    sizes = []
    for path in files:
        try:
            with Image.open(path) as image:
                sizes.append(image.size)
        except Exception as error:
            return _unreadable(path, error)
    return _sizes_differ(files[0], sizes[0], files[1], sizes[1]) if len(set(sizes)) > 1 else None


def _unreadable(path: Path, error: Exception) -> UnreadableError:
    told = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UnreadableError(f"{path} cannot be decoded ({told.replace(str(path), 'file')}).")


def _sizes_differ(image: Path, a: tuple[int, ...], mask: Path, b: tuple[int, ...]) -> UnreadableError:
    return UnreadableError(f"{image} has {a[0]} x {a[1]} pixels, but its mask {mask} has {b[0]} x {b[1]}.")


def existing_folder(path: str | os.PathLike[str], what: str) -> Path:
    """The folder as a path.

    Raises:
        ConfigError: If there is none.
    """
    folder = Path(str(path)).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"{what}: there is no folder {folder}; give the folder that holds the images.")
    return folder


def read_columns(path: Path, n_columns: Sequence[int]) -> list[list[str]]:
    """Rows of a text file of columns that white space separates; empty lines do not count.

    Args:
        path: The file.
        n_columns: Numbers of columns that a row may have.

    Raises:
        ConfigError: If there is no such file, it is empty, or a line has another number of columns.
    """
    if not path.is_file():
        raise ConfigError(f"There is no list {path}; expected a text file with one line per image.")
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    for k, row in enumerate(rows, 1):
        if len(row) not in n_columns:
            expected = " or ".join(map(str, n_columns))
            raise ConfigError(f"Row {k} of {path} is {' '.join(row)!r}; expected {expected} columns.")
    if not rows:
        raise ConfigError(f"The list {path} is empty; expected one line per image.")
    return rows
