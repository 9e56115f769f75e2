"""Torchvision's data sets as source, target or both, with any network; or one of them beside a folder of one's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from l2o_env.errors import ConfigError, unknown_name
from l2o_env.pairs.from_files.classified import build_pair
from l2o_env.pairs.from_files.folders import FoldersSettings
from l2o_env.pairs.images.datasets import SETS, Part, read_set, require_counts
from l2o_env.pairs.images.folder_listings import list_classes
from l2o_env.pairs.images.held_out import draw
from l2o_env.pairs.images.labelled import Labelled
from l2o_env.pairs.images.listing import existing_folder
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.spec import from_keywords


@dataclass(frozen=True)
class TorchvisionSettings(FoldersSettings):
    """Settings of the pair ``torchvision``: those of ``folders``, and these.

    Both may name one data set: a control without a gap between the domains.

    Attributes:
        source: ``"mnist"``, ``"usps"``, ``"svhn"``, ``"emnist"`` (digits) or ``"gtsrb"``, of which the training part is
            taken; or a folder with one folder per class.
        target: Likewise, of which the test part is taken; None: there is no real accuracy.
        root: Folder that torchvision keeps the data sets in; None: ``datasets`` in the cache folder.
        download: Whether they are downloaded if they are not there.
        n_source: Source images, of which the validation images are held out; of each class its share, drawn by the
            seed; 0: all.
        n_target: Target images, drawn likewise; 0: all.
    """

    root: str | Path | None = None
    download: bool = False
    n_source: int = 0
    n_target: int = 0

    def __post_init__(self) -> None:
        """Raises ``ConfigError`` if a value cannot work."""
        super().__post_init__()
        require_counts(self, "n_source", "n_target")
        if self.source == "":
            raise ConfigError("The pair 'torchvision' needs a data set or a folder: torchvision:source=…,target=…")
        _require_known("source", self.source)
        if self.target is not None:
            _require_known("target", self.target)


settings_of = partial(from_keywords, TorchvisionSettings)
"""Name of the pair and keywords to its settings; raises ``ConfigError`` if one is unknown or cannot work."""


def build(name: str, settings: TorchvisionSettings) -> Pair:
    """Builds the pair.

    Raises:
        ConfigError: If data sets or folders cannot work.
    """
    source = _images(settings, settings.source, "train", "source images", settings.n_source)
    target = None
    if settings.target is not None:
        target = _images(settings, settings.target, "test", "target images", settings.n_target)
    return build_pair(name, settings, source, target, metric=settings.metric, flip_average=settings.flip_average)


def _require_known(key: str, value: str | Path) -> None:
    """Raises ``ConfigError`` unless it is the name of a data set or a folder that is there."""
    if str(value).lower() in SETS:
        return
    if Path(str(value)).name == str(value) and not Path(str(value)).is_dir():  # a name, not a path
        raise unknown_name(f"{key} of the pair 'torchvision':", str(value), [*SETS, "FOLDER"])
    existing_folder(value, key)


def _images(settings: TorchvisionSettings, value: str | Path, part: Part, what: str, n: int) -> Labelled:
    name = str(value).lower()
    if name in SETS:
        images = read_set(name, part, settings.root, settings.download, what)
    else:
        images = _with_plain_numbers(value, what)
    least = len(images.classes) + (part == "train")  # one is held out
    if 0 < n < least:
        raise ConfigError(
            f"{n} {what} were asked for, of {len(images.classes)} classes; expected {least} or more, or 0 for all."
        )
    return images.take(draw(np.asarray(images.labels), n, settings.seed))


def _with_plain_numbers(folder: str | Path, what: str) -> Labelled:
    """A folder of classes, of which those that are numbers are called as the data sets call them: 00003 is 3."""
    images = list_classes(existing_folder(folder, what), what)
    classes = tuple(str(int(name)) if name.isdecimal() else name for name in images.classes)
    twice = sorted(a for a, b in zip(images.classes, classes, strict=True) if classes.count(b) > 1)
    if twice:
        raise ConfigError(f"{folder}: the folders {twice} are one class by number; put their images into one.")
    return replace(images, classes=classes)
