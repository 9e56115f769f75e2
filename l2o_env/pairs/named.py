"""The pairs that this package has by name, all of which are registered here.

A pair's module is imported when the pair is asked for. It has two functions: ``settings_of(name, keywords)``, which
builds nothing and raises ``ConfigError`` if keywords cannot work, and ``build(name, settings)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

from l2o_env.pairs.pair import Pair
from l2o_env.pairs.registry import FamilySplit, register
from l2o_env.pairs.rendered.glyph_family import OTHER_MEMBERS, TEST_MEMBERS, TRAIN_MEMBERS

FAMILY: dict[str, FamilySplit | None] = {
    **dict.fromkeys(TRAIN_MEMBERS, "train"),
    **dict.fromkeys(TEST_MEMBERS, "test"),
    **dict.fromkeys(OTHER_MEMBERS, None),
}
"""Members of the embedded family: trained on by default, held out for transfer, or neither."""

MODULES: dict[str, str] = {
    **dict.fromkeys(FAMILY, "l2o_env.pairs.rendered.glyph_family"),
    "clipart-photos": "l2o_env.pairs.photos.clipart_photos",
    "folders": "l2o_env.pairs.from_files.folders",
    "torchvision": "l2o_env.pairs.from_files.torchvision_sets",
    "digits": "l2o_env.pairs.rendered.digits",
    "glyphs-digits-seg": "l2o_env.pairs.rendered.glyphs_seg",
    "glyphs-mnist": "l2o_env.pairs.rendered.digits",
    "glyphs-usps": "l2o_env.pairs.rendered.digits",
    "glyphs-svhn": "l2o_env.pairs.rendered.digits",
    "glyphs-emnist": "l2o_env.pairs.rendered.digits",
    "signs-gtsrb": "l2o_env.pairs.rendered.signs_gtsrb",
    "visda17": "l2o_env.pairs.from_files.visda17",
    "gta5-cityscapes": "l2o_env.pairs.from_files.gta5_cityscapes",
    "gta5-bdd100k": "l2o_env.pairs.from_files.gta5_cityscapes",
    "gta5-mapillary": "l2o_env.pairs.from_files.gta5_cityscapes",
}
"""Module of each pair, by its name; in the order that names are listed in."""


def register_named_pairs() -> None:
    """Registers every one of them; builds none."""
    for name in MODULES:
        register(name, partial(_make, name), split=FAMILY.get(name), settings=partial(_settings_of, name))


def _settings_of(name: str, keywords: Mapping[str, Any]) -> Any:
    return import_module(MODULES[name]).settings_of(name, keywords)


def _make(name: str, **keywords: Any) -> Pair:
    return import_module(MODULES[name]).build(name, _settings_of(name, keywords))
