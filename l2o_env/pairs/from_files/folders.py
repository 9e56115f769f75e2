"""Your own images: two folders with one folder per class each, or with images and masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2o_env.errors import ConfigError
from l2o_env.pairs.from_files.classified import build_pair
from l2o_env.pairs.from_files.segmented import build_dense_pair
from l2o_env.pairs.from_files.settings import DenseSettings, ImageSettings
from l2o_env.pairs.images.folder_listings import is_dense, list_classes, list_masks, warn_of_shared
from l2o_env.pairs.images.listing import existing_folder
from l2o_env.pairs.pair import MetricName, Pair
from l2o_env.pairs.spec import as_text, from_keywords


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


def settings_of(name: str, keywords: Mapping[str, Any]) -> FoldersSettings | MaskFoldersSettings:
    """The pair's settings from keywords: those for masks if the source has some.

    Raises:
        ConfigError: If there is no such setting, or it cannot work.
    """
    settings: FoldersSettings | MaskFoldersSettings
    if is_dense(as_text(keywords.get("source", ""))):
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
        if real is not None:
            warn_of_shared(masks, real)
        return build_dense_pair(name, settings, masks, real)
    source = list_classes(source_folder, "source images")
    target = None if target_folder is None else list_classes(target_folder, "target images")
    if target is not None:
        warn_of_shared(source, target)
    return build_pair(name, settings, source, target, metric=settings.metric, flip_average=settings.flip_average)
