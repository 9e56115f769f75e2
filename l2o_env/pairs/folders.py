"""Your own images: two folders with one folder per class each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from l2o_env.errors import ConfigError
from l2o_env.pairs.base import MetricName, Pair
from l2o_env.pairs.files import Listing, existing_folder
from l2o_env.pairs.image_pair import ImageSettings, build_pair


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


def make_folders(**kwargs: Any) -> Pair:
    """Builds the pair ``folders``.

    Args:
        **kwargs: Fields of :class:`FoldersSettings`.

    Raises:
        ConfigError: If folders, images or settings cannot work.
    """
    settings = FoldersSettings.of("folders", kwargs)
    if settings.source == "":
        raise ConfigError("The pair 'folders' needs the folder of synthetic images: folders:source=…,target=…")
    source = list_classes(existing_folder(settings.source, "source"), "source images")
    target = None
    if settings.target is not None:
        target = list_classes(existing_folder(settings.target, "target"), "target images")
    return build_pair("folders", settings, source, target, metric=settings.metric, flip_average=settings.flip_average)


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
        told = str(error).splitlines()[0].split(" Supported")[0].rstrip(".")
        raise ConfigError(f"{folder}: {told}. Expected one folder per class with at least one image each.") from error
    files, labels = zip(*found.samples, strict=True)
    return replace(Listing([Path(file) for file in files], np.array(labels, np.int64), tuple(found.classes)), name=name)
