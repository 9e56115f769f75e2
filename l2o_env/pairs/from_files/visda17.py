"""VisDA-17: renderings of 3-D models to photographs of COCO, twelve classes (Peng et al., 2017)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l2o_env.errors import ConfigError, shortened
from l2o_env.pairs.from_files.classified import build_pair
from l2o_env.pairs.from_files.settings import ImageSettings
from l2o_env.pairs.images.listing import Listing, existing_folder, read_columns, require_files
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.spec import from_keywords

CLASSES = (
    "aeroplane", "bicycle", "bus", "car", "horse", "knife", "motorcycle", "person", "plant", "skateboard", "train",
    "truck",
)  # fmt: skip
_LABELS = {str(k) for k in range(len(CLASSES))}
_REPOSITORY = re.compile(r"^src_\d+_")
"""Where a 3-D model was found: in front of its name, and no part of it."""
_MEND = "root is the folder that train and validation are in; without real images give target=none"


@dataclass(frozen=True)
class VisdaSettings(ImageSettings):
    """Settings of the pair ``visda17``.

    Attributes:
        root: Folder with ``train/`` (synthetic) and ``validation/`` (real), each with an ``image_list.txt`` whose lines
            are ``class/file label``.
        target: Folder of the real images below ``root``; None: there is no real accuracy.
    """

    backbone: Any = "resnet101"
    root: str | Path = ""
    target: str | None = "validation"


def settings_of(name: str, keywords: Mapping[str, Any]) -> VisdaSettings:
    """The pair's settings from keywords.

    Raises:
        ConfigError: If there is no such setting, or it cannot work.
    """
    settings = from_keywords(VisdaSettings, name, keywords)
    if settings.root == "":
        raise ConfigError(f"The pair {name!r} needs the folder of the data set: {name}:root=…")
    return settings


def build(name: str, settings: VisdaSettings) -> Pair:
    """Builds the pair: mean per-class accuracy, averaged over the image and its mirror image.

    Raises:
        ConfigError: If folders, lists or images cannot work.
    """
    root = existing_folder(settings.root, "root")
    source = read_split(root / "train", "source images")
    target = None if settings.target is None else read_split(root / settings.target, "target images")
    return build_pair(name, settings, source, target, metric="mean_class_accuracy", flip_average=True)


def read_split(folder: Path, name: str) -> Listing:
    """Reads ``image_list.txt`` of a folder.

    Renderings of one 3-D model belong together: their names are alike up to a double underscore, but for a ``src_1_``
    or ``src_2_`` in front.

    Args:
        folder: The folder.
        name: What messages call the images.

    Raises:
        ConfigError: If the list is not there or damaged, or names an image that is not there or a label that is none.
    """
    rows = read_columns(existing_folder(folder, name, _MEND) / "image_list.txt", (2,))
    files = {file: folder / file for file, _ in rows}
    folders = {key: file.parent.name for key, file in files.items()}
    labels = []
    for k, (file, label) in enumerate(rows, 1):
        if label not in _LABELS:  # no digits of other scripts, and no thousands of them
            raise ConfigError(
                f"Row {k} of {folder / 'image_list.txt'} gives {shortened(file)} the label {shortened(label, 20)}; "
                "expected 0 to 11."
            )
        named = folders[file]
        if named in CLASSES and CLASSES[int(label)] != named:
            raise ConfigError(
                f"Row {k} of {folder / 'image_list.txt'} gives {shortened(file)} the label {label}, which is "
                f"{CLASSES[int(label)]!r}; its folder says {named!r}. Number the classes as VisDA-17 does: "
                f"{', '.join(f'{i} {name}' for i, name in enumerate(CLASSES))}."
            )
        labels.append(int(label))
    require_files(folder, files, folder / "image_list.txt")
    models = {key: f"{folders[key]}/{_REPOSITORY.sub('', file.stem).split('__')[0]}" for key, file in files.items()}
    groups = [models[key] for key, _ in rows] if name.startswith("source") else None
    return Listing([files[key] for key, _ in rows], np.array(labels, np.int64), CLASSES, groups, name=name)
