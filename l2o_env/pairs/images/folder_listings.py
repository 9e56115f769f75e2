"""Lists one's own folders: one folder per class, or images with masks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from l2o_env.errors import ConfigError
from l2o_env.pairs.augmentation import VOID
from l2o_env.pairs.images.decoding import EXTENSIONS
from l2o_env.pairs.images.folders import class_folders, copies, image_files, is_hidden
from l2o_env.pairs.images.label_maps import LabelMap
from l2o_env.pairs.images.listing import Listing, read_columns

_MAX_CLASS_NAME = 200
_log = logging.getLogger("l2o_env")


def is_dense(folder: object) -> bool:
    """Whether a folder holds images and masks, and no folders of classes."""
    path = Path(str(folder)).expanduser()
    return (path / "images").is_dir() and (path / "masks").is_dir()


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
    images = sorted(
        p for p in (folder / "images").iterdir() if p.suffix.lower() in EXTENSIONS and not is_hidden(p.name)
    )
    masks = [folder / "masks" / f"{p.stem}.png" for p in images]
    missing = [mask for mask in masks if not mask.is_file()]
    if not images or missing:
        problem = f"{len(missing)} masks are not there, such as {missing[0]}" if missing else "there are no images"
        raise ConfigError(f"{folder}: {problem}; expected images/NAME.* and masks/NAME.png.")
    classes = [" ".join(row) for row in read_columns(folder / "classes.txt", range(1, 10))]
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
    names = tuple(each.name for each in folders)
    groups = copies(files)
    if groups is not None:
        _warn_of_copies(files, labels, groups, name)
    return Listing(files, np.array(labels, np.int64), names, groups, name=name)


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
