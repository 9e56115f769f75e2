"""Lists one's own folders: one folder per class, or images with masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from l2o_env.errors import ConfigError
from l2o_env.pairs.augmentation import VOID
from l2o_env.pairs.images.label_maps import LabelMap
from l2o_env.pairs.images.listing import Listing, read_columns

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".tif", ".tiff", ".webp")


_MAX_CLASS_NAME = 200


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
    images = sorted(p for p in (folder / "images").iterdir() if p.suffix.lower() in IMG_EXTENSIONS)
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
    return Listing(images, masks, tuple(known), None, LabelMap(values, name=f"list {folder / 'classes.txt'}"), name)


def list_classes(folder: Path, name: str) -> Listing:
    """Lists a folder that has one folder per class, as ``torchvision.datasets.ImageFolder`` does.

    Args:
        folder: The folder.
        name: What messages call the images.

    Raises:
        ConfigError: If it has no such folders, or one of them has no images.
    """
    from torchvision.datasets import ImageFolder

    try:
        listed = ImageFolder(str(folder))
    except FileNotFoundError as error:
        reason = str(error).splitlines()[0].split(" Supported")[0].rstrip(".").removesuffix(f" in {folder}")
        raise ConfigError(f"{folder}: {reason}. Expected one folder per class with at least one image each.") from error
    files, labels = zip(*listed.samples, strict=True)
    return Listing([Path(file) for file in files], np.array(labels, np.int64), tuple(listed.classes), name=name)
