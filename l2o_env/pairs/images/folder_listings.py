"""Lists one's own folders: one folder per class, or images with masks."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from l2o_env.errors import ConfigError
from l2o_env.pairs.augmentation import VOID
from l2o_env.pairs.images.decoding import EXTENSIONS
from l2o_env.pairs.images.folders import class_folders, copies, image_files, is_hidden, warn_of_others
from l2o_env.pairs.images.label_maps import LabelMap
from l2o_env.pairs.images.listing import Listing, read_columns

_MAX_CLASS_NAME = 200
_log = logging.getLogger("l2o_env")


def is_dense(folder: object) -> bool:
    """Whether a folder holds images and masks, and no folders of classes."""
    path = Path(str(folder)).expanduser()
    # Unlike Path.is_dir, False too of names that no folder can have.
    return os.path.isdir(path / "images") and os.path.isdir(path / "masks")


def list_masks(folder: Path, name: str, order: Sequence[str] | None = None) -> Listing:
    """Lists a folder of ``images/``, ``masks/`` and ``classes.txt``.

    Args:
        folder: The folder.
        name: What messages call the images.
        order: Names of the classes in the order of their indices; None: that of ``classes.txt``.

    Raises:
        ConfigError: If a part is missing, or an image has no mask.
    """
    if not is_dense(folder):
        raise ConfigError(f"{folder} has no folders images and masks; expected them, as the source has them.")
    files = sorted(p for p in (folder / "images").iterdir() if not is_hidden(p.name) and not p.is_dir())
    images = [p for p in files if p.suffix.lower() in EXTENSIONS]
    warn_of_others(folder / "images", Counter(p.suffix.lower() for p in files if p.suffix.lower() not in EXTENSIONS))
    twice = [(a, b) for a, b in pairwise(images) if a.stem == b.stem]
    if twice:
        raise ConfigError(f"{twice[0][0]} and {twice[0][1].name} have one mask; expected one image of each name.")
    masks = [folder / "masks" / f"{p.stem}.png" for p in images]
    missing = [mask for mask in masks if not mask.is_file()]
    if not images or missing:
        problem = f"{len(missing)} masks are not there, such as {missing[0]}" if missing else "there are no images"
        raise ConfigError(f"{folder}: {problem}; expected images/NAME.* and masks/NAME.png.")
    classes = read_class_names(folder / "classes.txt", range(1, 10))
    if len(classes) > VOID or max(map(len, classes)) > _MAX_CLASS_NAME:
        raise ConfigError(
            f"{folder / 'classes.txt'} names {len(classes)} classes; expected at most {VOID}, one name of at most "
            f"{_MAX_CLASS_NAME} characters per line."
        )
    if len(set(classes)) < len(classes):
        raise ConfigError(f"{folder / 'classes.txt'} names a class twice; expected one name per line.")
    known = list(order) if order is not None and set(order) == set(classes) else classes
    values = {value: known.index(c) for value, c in enumerate(classes)}
    label_map = LabelMap(
        values,
        name=f"list {folder / 'classes.txt'}",
        advice="name its class there (the first line is 0, 255 is no class), or save the mask with the values that are",
    )
    groups = copies(images)
    return Listing(images, masks, tuple(known), groups, label_map, name)


def read_class_names(path: Path, n_words: Sequence[int]) -> list[str]:
    """Names of classes in a text file, one a line.

    Args:
        path: The file.
        n_words: Numbers of words that a name may have.

    Raises:
        ConfigError: If there is no such file, it is empty, or a name has another number of words.
    """
    return [_composed(" ".join(row)) for row in read_columns(path, n_words)]


def class_names(folder: Path) -> tuple[str, ...]:
    """Names of the folders of classes, in their order."""
    return tuple(_composed(each.name) for each in class_folders(folder))


def list_classes(folder: Path, name: str) -> Listing:
    """Lists a folder that has one folder per class, as ``torchvision.datasets.ImageFolder`` does.

    Hidden folders and those of systems are no classes. Copies of an image and links to it belong together.

    Args:
        folder: The folder.
        name: What messages call the images.

    Raises:
        ConfigError: If it has no such folders, or one of them has no images.
    """
    folders = class_folders(folder)
    files: list[Path] = []
    labels: list[int] = []
    for label, each in enumerate(folders):
        images = image_files(each)
        if not images:
            raise ConfigError(
                f"{folder}: there are no images in the folder {each.name!r}. Expected one folder per class with at "
                f"least one image each; known endings are {', '.join(EXTENSIONS)}."
            )
        files += images
        labels += [label] * len(images)
    names = tuple(_composed(each.name) for each in folders)
    if len(set(names)) < len(names):
        raise ConfigError(f"{folder} has two folders whose names are the same letters; put their images into one.")
    groups = copies(files)
    if groups is not None:
        _warn_of_copies(files, labels, groups, name)
    return Listing(files, np.array(labels, np.int64), names, groups, name=name)


def warn_of_shared(source: Listing, target: Listing) -> None:
    """Logs a warning if images of the target are among those of the source, of which they tell nothing then."""
    names = copies([*source.files, *target.files])
    known = set() if names is None else set(names[: len(source)])
    shared = [] if names is None else [i for i, name in enumerate(names[len(source) :]) if name in known]
    if shared:
        _log.warning(
            "%d of the %d %s are among the %s too, such as %s. What is right on them tells nothing of real images.",
            len(shared), len(target), target.name, source.name, target.files[shared[0]],
        )  # fmt: skip


def _composed(name: str) -> str:
    """A name in the form that most systems write; macOS writes é as two characters."""
    return unicodedata.normalize("NFC", name)


def _warn_of_copies(files: Sequence[Path], labels: Sequence[int], groups: Sequence[str], name: str) -> None:
    first: dict[str, int] = {}
    twice = [(i, first.setdefault(group, i)) for i, group in enumerate(groups)]
    twice = [(i, k) for i, k in twice if i != k]
    of_two_classes = [(i, k) for i, k in twice if labels[i] != labels[k]]
    if of_two_classes:
        i, k = of_two_classes[0]
        _log.warning(
            "%d of the %s are in two classes, such as %s and %s, which are equal.",
            len(of_two_classes), name, files[k], files[i],
        )  # fmt: skip
    i, k = twice[0]
    _log.warning(
        "%d of the %s are copies of others, such as %s of %s; they stay together when validation images are held out.",
        len(twice), name, files[i], files[k],
    )  # fmt: skip
