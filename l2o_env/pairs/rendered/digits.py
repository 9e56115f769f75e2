"""Digits in the embedded family's setting, of any source and target: rendered, UCI's, or those of torchvision.

Proxy and network are the family's: the proxy knows UCI's digits over photographs. Images of torchvision's data sets
are scaled to 16x16 and become RGB. The target is always the test part of a data set and the source its training part,
so both may be of one: a control without a gap between the domains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from l2o_env.errors import require_integers, unknown_name
from l2o_env.pairs.images.datasets import DIGIT_SETS, read_digits, require_counts
from l2o_env.pairs.images.held_out import draw, hold_out
from l2o_env.pairs.images.labelled import Pixels
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.rendered.backgrounds import SIDE
from l2o_env.pairs.rendered.glyphs import assemble, synthetic_splits, uci_target
from l2o_env.pairs.rendered.glyphs_config import GlyphsConfig
from l2o_env.pairs.spec import from_keywords
from l2o_env.pairs.splits import Split, as_split

CHUNK = 4096
"""Images that are scaled at once."""
_OF_RENDERINGS = {
    "renderer", "validation_renderer", "train_fonts", "validation_fonts", "background", "n_train_per_class",
    "n_validation_per_class",
}  # fmt: skip
_OF_DATA_SETS = {"n_train", "n_validation"}


@dataclass(frozen=True)
class DigitsConfig(GlyphsConfig):
    """Settings of ``digits``: those of the family, and these.

    Attributes:
        source: ``"glyphs"`` (rendered, with other renderers for the validation images), or the training part of
            ``"mnist"``, ``"usps"``, ``"svhn"`` or ``"emnist"``.
        target: ``"uci"`` (over photographs), or the test part of one of those data sets; None: there is no real
            accuracy.
        root: Folder that torchvision keeps the data sets in; None: ``datasets`` in the cache folder.
        download: Whether they are downloaded if they are not there.
        n_train: Training images of a data set, of each class its share, drawn by the seed; 0: all. The numbers of
            rendered ones are ``n_train_per_class`` and ``n_validation_per_class``.
        n_validation: Validation images, held out of the same part of the data set.
        n_target: Target images, drawn like those to train on; 0: all.
    """

    source: str = "glyphs"
    target: str | None = "uci"
    root: str | Path | None = None
    download: bool = False
    n_train: int = 10_000
    n_validation: int = 600
    n_target: int = 0

    def __post_init__(self) -> None:
        """Raises ``ConfigError`` if a value cannot work."""
        super().__post_init__()
        for key, other in (("source", "glyphs"), ("target", "uci")):
            name = getattr(self, key)
            if key == "target" and name is None:
                continue
            if str(name).lower() not in (other, *DIGIT_SETS):
                raise unknown_name(f"{key} of digits", name, (other, *DIGIT_SETS))
            object.__setattr__(self, key, name.lower())
        require_counts(self, "n_train", "n_target")
        require_integers(self, "n_validation")


def settings_of(name: str, keywords: Mapping[str, Any]) -> DigitsConfig:
    """Settings of ``digits`` or of one of ``glyphs-mnist`` and the like, whose source and target are fixed.

    Raises:
        ConfigError: If there is no such setting where the source is what it is, or it cannot work.
    """
    fixed = {} if name == "digits" else {"source": "glyphs", "target": name.removeprefix("glyphs-")}
    source = str(keywords.get("source", DigitsConfig.source)).lower()
    unread = _OF_DATA_SETS if source == "glyphs" else _OF_RENDERINGS
    for key in {*keywords} & unread:
        known = [f.name for f in fields(DigitsConfig) if f.name not in unread]
        raise unknown_name(f"setting of the pair {name!r}, where the source is {source!r}:", key, known)
    return from_keywords(DigitsConfig, name, keywords, fixed)


def build(name: str, config: DigitsConfig) -> Pair:
    """Builds the pair.

    Raises:
        ConfigError: If a data set is not there.
    """
    # The data sets first, because the proxy may take a while.
    return assemble(name, config, *_source(config), _target(config))


def _source(config: DigitsConfig) -> tuple[Split, Split]:
    """Training and validation images."""
    if config.source == "glyphs":
        return synthetic_splits(config)
    images = read_digits(config.source, "train", config.root, config.download, f"training images of {config.source}")
    rest, held_out = hold_out(images.labels, None, config.n_validation, config.seed, images.name)
    chosen = rest[draw(images.labels[rest], config.n_train, config.seed)]
    return _small(images.take(chosen)), _small(images.take(held_out))


def _target(config: DigitsConfig) -> Split | None:
    if config.target is None:
        return None
    if config.target == "uci":
        split = uci_target(config)
        chosen = torch.from_numpy(draw(split.labels.numpy(), config.n_target, config.seed))
        assert split.masks is not None
        return Split(split.images[chosen], split.labels[chosen], split.masks[chosen])
    images = read_digits(config.target, "test", config.root, config.download, f"test images of {config.target}")
    return _small(images.take(draw(images.labels, config.n_target, config.seed)))


def _small(images: Pixels) -> Split:
    """The images as the network takes them, ``(n, 3, 16, 16)``; every pixel of the larger ones counts."""
    chunks = [_shrunk(images.pixels[i : i + CHUNK]) for i in range(0, len(images), CHUNK)]
    return as_split(np.concatenate(chunks), images.labels)


def _shrunk(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Bytes ``(n, height, width)`` or ``(n, height, width, 3)`` as RGB in [0, 1], ``(n, 16, 16, 3)``."""
    from torchvision.transforms.v2 import functional

    channels_last = pixels if pixels.ndim == 4 else pixels[..., None]
    images = torch.from_numpy(np.ascontiguousarray(channels_last)).permute(0, 3, 1, 2).to(torch.float32) / 255
    small = functional.resize_image(images, [SIDE, SIDE], antialias=True)
    return small.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
