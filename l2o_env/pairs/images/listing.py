"""Labelled images in files: listings, and reading."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from l2o_env.errors import ConfigError, reading, shortened
from l2o_env.pairs.images.decoding import read_image, read_mask
from l2o_env.pairs.images.image_split import UnreadableError
from l2o_env.pairs.images.label_maps import LabelMap
from l2o_env.safe_json import read_text

OnError = Literal["raise", "skip"]
_MAX_LIST = 256 * 2**20
"""Bytes of a list of images, some millions of them."""
_MISSING = 1000
"""Missing files of a list that are counted; with so many, it is the wrong folder."""


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
        files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in (*self.files, *masks)]
        return repr((files, self.classes, self.label_map))

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> Listing:
        """The images of these indices."""
        chosen = [int(i) for i in indices]
        labels = [self.labels[i] for i in chosen] if self.dense else np.asarray(self.labels)[chosen]
        groups = None if self.groups is None else [self.groups[i] for i in chosen]
        return replace(self, files=[self.files[i] for i in chosen], labels=labels, groups=groups)


def _sizes_differ(image: Path, a: tuple[int, ...], mask: Path, b: tuple[int, ...]) -> UnreadableError:
    return UnreadableError(f"{image} has {a[0]} x {a[1]} pixels, but its mask {mask} has {b[0]} x {b[1]}.")


def existing_folder(
    path: str | os.PathLike[str], what: str, mend: str = "give the folder that holds the images"
) -> Path:
    """The folder as a path.

    Args:
        path: Where it is.
        what: What messages call it.
        mend: What they say to do if there is none.

    Raises:
        ConfigError: If there is none.
    """
    folder = Path(str(path)).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"{what}: there is no folder {folder}; {mend}.")
    return folder


def read_columns(path: Path, n_columns: Sequence[int]) -> list[list[str]]:
    """Rows of a text file of columns that white space separates; empty lines do not count.

    Args:
        path: The file.
        n_columns: Numbers of columns that a row may have.

    Raises:
        ConfigError: If there is no such file, it is empty, or a line has another number of columns.
    """
    expected = "expected a text file with one line per image, in UTF-8."
    if not path.is_file():
        raise ConfigError(f"There is no list {path}; {expected}")
    with reading(path, expected):
        rows = [line.split() for line in read_text(path, _MAX_LIST).splitlines() if line.strip()]
    for k, row in enumerate(rows, 1):
        if len(row) not in n_columns:
            columns = " or ".join(map(str, n_columns)) if len(n_columns) < 4 else f"{n_columns[0]} to {n_columns[-1]}"
            raise ConfigError(f"Row {k} of {path} is {shortened(' '.join(row))}; expected {columns} columns.")
    if not rows:
        raise ConfigError(f"The list {path} is empty; expected one line per image.")
    return rows


def require_files(folder: Path, names: Iterable[str], path: Path) -> None:
    """Checks that the files of a list are there.

    Args:
        folder: Where they are.
        names: The files in it.
        path: The list, for messages.

    Raises:
        ConfigError: If some are not.
    """
    missing: list[str] = []
    for name in names:
        if not os.path.isfile(folder / name):  # False too of names that no file can have
            missing.append(str(folder / name))
        if len(missing) == _MISSING:
            break
    if missing:
        n = f"{_MISSING} or more" if len(missing) == _MISSING else len(missing)
        raise ConfigError(
            f"{n} images of {path} are not there, such as {shortened(missing[0], 200)}; unpack the whole archive "
            "or shorten the list."
        )
