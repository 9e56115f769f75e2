"""Torchvision's data sets as labelled images: MNIST, USPS, SVHN, EMNIST's digits, and GTSRB."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l2o_env.errors import ConfigError, require_integers
from l2o_env.pairs.cache import cache_folder
from l2o_env.pairs.images.labelled import Labelled, Pixels
from l2o_env.pairs.images.listing import Listing

Part = Literal["train", "test"]
N_SIGNS = 43


class _Digits(NamedTuple):
    """How torchvision calls a data set of digits, the arguments of its two parts, and where its arrays are."""

    kind: str
    train: dict[str, Any]
    test: dict[str, Any]
    labels: str
    pixels: Callable[[Any], NDArray[np.uint8]]


_DIGITS = {
    "mnist": _Digits("MNIST", {"train": True}, {"train": False}, "targets", np.asarray),
    "usps": _Digits("USPS", {"train": True}, {"train": False}, "targets", np.asarray),
    "svhn": _Digits("SVHN", {"split": "train"}, {"split": "test"}, "labels", lambda data: data.transpose(0, 2, 3, 1)),
    # EMNIST's images are stored with rows and columns exchanged.
    "emnist": _Digits(
        "EMNIST",
        {"split": "digits", "train": True},
        {"split": "digits", "train": False},
        "targets",
        lambda data: np.asarray(data).transpose(0, 2, 1),
    ),
}
DIGIT_SETS = tuple(_DIGITS)
"""Names of the data sets of digits."""
SETS = (*DIGIT_SETS, "gtsrb")
"""Names of all of them."""


def read_set(name: str, part: Part, root: str | Path | None, download: bool, what: str) -> Labelled:
    """One part of a data set; its classes are called by their numbers, ``"0"`` and so on.

    Args:
        name: One of ``SETS``.
        part: ``"train"`` or ``"test"``, as its authors divided it.
        root: Folder that torchvision keeps the data set in; None: ``datasets`` in the cache folder.
        download: Whether it is downloaded if it is not there.
        what: What messages call the images.

    Raises:
        ConfigError: If the data set is not there or is damaged.
    """
    if name == "gtsrb":
        return read_signs(part, root, download, what)
    return read_digits(name, part, root, download, what)


def read_digits(name: str, part: Part, root: str | Path | None, download: bool, what: str) -> Pixels:
    """The same, of one of ``DIGIT_SETS``."""
    known = _DIGITS[name]
    data = _open(known.kind, root, download, known.train if part == "train" else known.test)
    labels = np.asarray(getattr(data, known.labels), np.int64)
    return Pixels(known.pixels(data.data), labels, tuple(map(str, range(10))), what)


def read_signs(part: Part, root: str | Path | None, download: bool, what: str) -> Listing:
    """The same, of GTSRB; the training images of one track, which show one physical sign, belong together."""
    samples = _open("GTSRB", root, download, {"split": part})._samples  # torchvision has no public list of the files
    files = [Path(file) for file, _ in samples]
    classes = tuple(map(str, range(N_SIGNS)))
    if part == "test":
        return Listing(files, np.array([label for _, label in samples], np.int64), classes, name=what)
    # Torchvision's labels count the folders that are there; their names are the classes even where one is missing.
    labels = {f"{label:05d}": label for label in range(N_SIGNS)}
    strange = sorted({file.parent.name for file in files} - set(labels))
    if strange:
        raise ConfigError(f"GTSRB's training images are in the folders 00000 to 00042; remove {strange}.")
    groups = [f"{file.parent.name}/{file.name.split('_')[0]}" for file in files]
    return Listing(files, np.array([labels[file.parent.name] for file in files], np.int64), classes, groups, name=what)


def _open(kind: str, root: str | Path | None, download: bool, arguments: dict[str, Any]) -> Any:
    from torchvision import datasets

    if not isinstance(download, bool):
        raise ConfigError(f"download is {download!r}; expected true or false.")
    folder = cache_folder() / "datasets" if root is None else Path(str(root)).expanduser()
    try:
        if download:
            folder.mkdir(parents=True, exist_ok=True)
        return getattr(datasets, kind)(str(folder), download=download, **arguments)
    except Exception as error:  # its readers raise many kinds where a file is damaged
        reason = str(error) or type(error).__name__
        hint = "check the network" if download else "give root=FOLDER, or download=true"
        raise ConfigError(f"{kind} cannot be had from {folder} ({reason}); {hint}.") from error


def require_counts(settings: object, *keys: str) -> None:
    """Raises ``ConfigError`` unless these settings are numbers of images, or 0 for all."""
    require_integers(settings, *keys, least=0, expected="a number of images, or 0 for all")
