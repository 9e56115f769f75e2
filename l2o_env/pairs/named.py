"""The named pairs beside the embedded family; none of their modules is imported before a pair is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

from l2o_env.pairs.pair import Pair
from l2o_env.pairs.registry import register

MODULES: dict[str, str] = {
    "folders": "from_files.folders",
    "torchvision": "from_files.torchvision_sets",
    "digits": "rendered.digits",
    "glyphs-digits-seg": "rendered.glyphs_seg",
    "glyphs-mnist": "rendered.digits",
    "glyphs-usps": "rendered.digits",
    "glyphs-svhn": "rendered.digits",
    "glyphs-emnist": "rendered.digits",
    "signs-gtsrb": "rendered.signs_gtsrb",
    "visda17": "from_files.visda17",
    "gta5-cityscapes": "from_files.gta5_cityscapes",
    "gta5-bdd100k": "from_files.gta5_cityscapes",
    "gta5-mapillary": "from_files.gta5_cityscapes",
}
"""Module of a pair, by its name; which has functions ``settings_of(name, keywords)`` and ``build(name, settings)``."""


def register_image_pairs() -> None:
    """Registers every one of them; builds none."""
    for name in MODULES:
        register(name, partial(_make, name), settings=partial(_settings_of, name))


def _settings_of(name: str, keywords: Mapping[str, Any]) -> Any:
    return import_module(f"l2o_env.pairs.{MODULES[name]}").settings_of(name, keywords)


def _make(name: str, **keywords: Any) -> Pair:
    settings = _settings_of(name, keywords)
    return import_module(f"l2o_env.pairs.{MODULES[name]}").build(name, settings)
