"""The pair ``clipart-photos``: emoji and clip art to photographs, with a network that was trained on ImageNet."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from l2o_env.errors import ConfigError, require_integers, unknown_name
from l2o_env.models.adapted.prepare import prepare
from l2o_env.pairs.cache import cache_folder
from l2o_env.pairs.from_files.class_splits import plain_split, training_split
from l2o_env.pairs.from_files.classified import network_of
from l2o_env.pairs.from_files.proxy_images import proxy_test_of
from l2o_env.pairs.from_files.settings import ImageSettings
from l2o_env.pairs.images.folder_listings import list_classes
from l2o_env.pairs.images.image_split import ImageSplit
from l2o_env.pairs.images.labelled import in_order
from l2o_env.pairs.images.listing import Listing, OnError
from l2o_env.pairs.images.verify import verified
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.photos.drawing import CutOut, Drawings
from l2o_env.pairs.photos.manifest import ORIGINS
from l2o_env.pairs.spec import from_keywords
from l2o_env.pairs.splits import decoded

Photographs = Literal["all", "tuxpaint", "gcompris"]
STYLES = tuple(style for style, origin in ORIGINS.items() if origin.part == "source")
_HALVES_SEED = 20
"""Which photographs are tested on: never changed, so that nobody can choose them."""
_CHUNK = 32


@dataclass(frozen=True)
class ClipartPhotosSettings(ImageSettings):
    """Settings of the pair ``clipart-photos``: those of pairs of image files with other defaults, and these.

    Attributes:
        root: Folder of the data set, which ``l2o data clipart-photos`` makes; None: ``datasets/clipart-photos`` in the
            cache folder.
        n_train: Drawings to train on, each drawn once and kept.
        held_out_style: Style of the cut-outs that validation images are drawn of, and no others: ``"noto"``,
            ``"fluent"`` or ``"openclip"``.
        photographs: Which to test on: those of one package, or all. Class and package go together in part.
        n_validation: Drawings that V is computed on.
    """

    backbone: str = "efficientnet_lite0"
    size: int = 96
    n_validation: int = 150
    root: str | Path | None = None
    n_train: int = 2000
    held_out_style: str = "noto"
    photographs: Photographs = "all"

    def __post_init__(self) -> None:
        """Raises ``ConfigError`` if a value cannot work."""
        super().__post_init__()
        require_integers(self, "n_train")
        if self.held_out_style not in STYLES:
            raise unknown_name("held_out_style", self.held_out_style, STYLES)
        if self.photographs not in get_args(Photographs):
            raise unknown_name("photographs", self.photographs, get_args(Photographs))

    @property
    def folder(self) -> Path:
        """Where the data set is."""
        return default_root() if self.root is None else Path(self.root).expanduser()


def default_root() -> Path:
    """Where the data set is, if nobody says otherwise."""
    return cache_folder() / "datasets" / "clipart-photos"


settings_of = partial(from_keywords, ClipartPhotosSettings)
"""Name of the pair and keywords to its settings; raises ``ConfigError`` if one is unknown or cannot work."""


def build(name: str, settings: ClipartPhotosSettings) -> Pair:
    """Builds the pair.

    Raises:
        ConfigError: If the data set is not there or lacks what it needs, or the network cannot work.
    """
    source = cut_outs(settings.folder, settings.on_error)
    classes = source.classes
    chosen = photographs(settings.folder, classes, settings.photographs, settings.on_error)
    settings.warn_of_normalisation()
    prepared = prepare(network_of(settings), settings.size)
    target = None if chosen is None else plain_split(settings, half(chosen, 0), "photographs")
    agreement = None if target is None else as_the_proxy_says(prepared.proxy, target)
    return Pair(
        name=name,
        train=training_split(settings, drawings(settings, source, held_out=False)),
        validation=plain_split(settings, drawings(settings, source, held_out=True), "validation drawings"),
        target=target,
        proxy_test=proxy_test_of(settings, prepared.n_proxy_classes) or agreement,
        proxy=prepared.proxy,
        make_model=partial(prepared.make_model, len(classes)),
        make_random_model=partial(prepared.make_random_model, len(classes)),
        n_classes=len(classes),
        n_proxy_classes=prepared.n_proxy_classes,
        classes=classes,
        advice=f"make the data set again with packages of photographs: `{_command(settings.folder)}`",
    )


def cut_outs(root: Path, on_error: OnError = "raise") -> Listing:
    """The cut-outs of the data set.

    Raises:
        ConfigError: If they are not there.
    """
    if not (root / "source").is_dir():
        raise ConfigError(
            f"The data set is not in {root}: make it with `{_command(root)}`, which says what to install, or give "
            "root=FOLDER."
        )
    return verified(list_classes(root / "source", "cut-outs"), on_error)


def _command(root: Path) -> str:
    """What makes the data set in a folder."""
    return "l2o data clipart-photos" + ("" if root == default_root() else f" --out {shlex.quote(str(root))}")


def photographs(
    root: Path, classes: tuple[str, ...], package: Photographs = "all", on_error: OnError = "raise"
) -> Listing | None:
    """The photographs of the data set; None if there are none."""
    if not (root / "target").is_dir():
        return None
    found = verified(list_classes(root / "target", "photographs"), on_error)
    if not set(found.classes) <= set(classes):
        raise ConfigError(f"{root / 'target'} has classes that {root / 'source'} lacks; make the data set again.")
    found = in_order(found, classes)
    return found.take([i for i, file in enumerate(found.files) if package in ("all", _style(file))])


def half(listing: Listing, which: int) -> Listing:
    """One half of the photographs of each class and package: 0 is tested on, 1 is for pictures and nothing else."""
    keys = [f"{file.parent.name}/{_style(file)}" for file in listing.files]
    by_name = np.argsort([file.name for file in listing.files])
    chosen: list[int] = []
    for key in sorted(set(keys)):
        members = [i for i in by_name if keys[i] == key]
        order = np.random.default_rng([_HALVES_SEED, *key.encode()]).permutation(len(members))
        chosen += [members[i] for i in order[which::2]]
    return listing.take(sorted(chosen))


def as_the_proxy_says(proxy: nn.Module, images: ImageSplit) -> ImageSplit:
    """The same images, labelled by the proxy: accuracy of its head there is agreement with what it was."""
    found: list[NDArray[np.int64]] = []
    for start in range(0, len(images), _CHUNK):
        chunk = decoded(images, range(start, min(start + _CHUNK, len(images))))
        with torch.no_grad():
            found.append(proxy(chunk.images).argmax(1).numpy())
    labels = np.concatenate(found)
    assert isinstance(images.samples, Listing)
    listing = replace(images.samples, labels=labels, classes=tuple(map(str, range(1 + int(labels.max())))))
    return replace(images, samples=listing, labels=torch.from_numpy(labels), name="photographs, by the proxy")


def drawings(settings: ClipartPhotosSettings, source: Listing, *, held_out: bool) -> Drawings:
    """Drawings of the cut-outs in the style that is held out for validation, or in all others.

    Raises:
        ConfigError: If a class has none.
    """
    ours = [
        CutOut(file, int(label), _style(file))
        for file, label in zip(source.files, source.labels, strict=True)
        if (_style(file) == settings.held_out_style) == held_out
    ]
    lacking = sorted(set(range(len(source.classes))) - {each.label for each in ours})
    if lacking:
        which = f"{'of' if held_out else 'beside'} the style {settings.held_out_style!r}"
        raise ConfigError(
            f"There are no cut-outs {which} of the class {source.classes[lacking[0]]!r} in {settings.folder}; install "
            f"more of its packages and make it again with `{_command(settings.folder)}`, or give another "
            "held_out_style."
        )
    n, name = (settings.n_validation, "validation drawings") if held_out else (settings.n_train, "training drawings")
    return Drawings(ours, n, settings.resize or settings.size, 2 * settings.seed + held_out, name)


def _style(file: Path) -> str:
    return file.name.partition("-")[0]
