"""Your own images: two folders with one folder per class each, or with images and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from l2o_env.errors import ConfigError
from l2o_env.pairs.base import MetricName, Pair
from l2o_env.pairs.dense_pair import DenseSettings, build_dense_pair
from l2o_env.pairs.files import Listing, existing_folder, read_columns
from l2o_env.pairs.image_pair import ImageSettings, build_pair
from l2o_env.pairs.labels import LabelMap
from l2o_env.pairs.spec import from_keywords

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class FoldersSettings(ImageSettings):
    """Settings of the pair ``folders``.

    Attributes:
        source: Folder of synthetic images, with one folder per class.
        target: Folder of real images with the same classes; None: there is no real accuracy.
        metric: ``"accuracy"`` or ``"mean_class_accuracy"``.
        flip_average: Whether predictions on the target are averaged with those of the mirror image.
    """

    source: str | Path = ""
    target: str | Path | None = None
    metric: MetricName = "accuracy"
    flip_average: bool = False


@dataclass(frozen=True)
class MaskFoldersSettings(DenseSettings):
    """Settings of the pair ``folders`` where ``source`` holds images and masks.

    Attributes:
        source: Folder of synthetic images, with ``images/``, ``masks/`` (PNGs of the same names) and ``classes.txt``:
            the name of a class on each line, in the order of the masks' values from 0 on. 255 stands for no class.
        target: Folder of real images with the same classes, in any order; None: there is no real accuracy.
    """

    source: str | Path = ""
    target: str | Path | None = None


def is_dense(folder: object) -> bool:
    """Whether a folder holds images and masks, and no folders of classes."""
    path = Path(str(folder)).expanduser()
    return (path / "images").is_dir() and (path / "masks").is_dir()


def settings_of(name: str, keywords: Mapping[str, Any]) -> FoldersSettings | MaskFoldersSettings:
    """The pair's settings from keywords: those for masks if the source has some.

    Raises:
        ConfigError: If there is no such setting, or it cannot work.
    """
    settings: FoldersSettings | MaskFoldersSettings
    if is_dense(keywords.get("source", "")):
        settings = from_keywords(MaskFoldersSettings, name, keywords)
    else:
        settings = from_keywords(FoldersSettings, name, keywords)
    if settings.source == "":
        raise ConfigError(f"The pair {name!r} needs the folder of synthetic images: {name}:source=…,target=…")
    return settings


def build(name: str, settings: FoldersSettings | MaskFoldersSettings) -> Pair:
    """Builds the pair.

    Raises:
        ConfigError: If folders or images cannot work.
    """
    source_folder = existing_folder(settings.source, "source")
    target_folder = None if settings.target is None else existing_folder(settings.target, "target")
    if isinstance(settings, MaskFoldersSettings):
        masks = list_masks(source_folder, "source images")
        real = None if target_folder is None else list_masks(target_folder, "target images", masks.classes)
        return build_dense_pair(name, settings, masks, real)
    source = list_classes(source_folder, "source images")
    target = None if target_folder is None else list_classes(target_folder, "target images")
    return build_pair(name, settings, source, target, metric=settings.metric, flip_average=settings.flip_average)


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
        told = f"{len(missing)} masks are not there, such as {missing[0]}" if missing else "there are no images"
        raise ConfigError(f"{folder}: {told}; expected images/NAME.* and masks/NAME.png.")
    classes = [" ".join(row) for row in read_columns(folder / "classes.txt", range(1, 10))]
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
        found = ImageFolder(str(folder))
    except FileNotFoundError as error:
        told = str(error).splitlines()[0].split(" Supported")[0].rstrip(".").removesuffix(f" in {folder}")
        raise ConfigError(f"{folder}: {told}. Expected one folder per class with at least one image each.") from error
    files, labels = zip(*found.samples, strict=True)
    return replace(Listing([Path(file) for file in files], np.array(labels, np.int64), tuple(found.classes)), name=name)
