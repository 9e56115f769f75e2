"""The named pairs beside the embedded family; none of their modules is imported before a pair is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

from l2o_env.pairs.base import Pair, register

MODULES: dict[str, str] = {
    "folders": "folders",
    "torchvision": "torchvision_pair",
    "digits": "digits",
    "glyphs-digits-seg": "glyphs_seg",
    "glyphs-mnist": "digits",
    "glyphs-usps": "digits",
    "glyphs-svhn": "digits",
    "glyphs-emnist": "digits",
    "signs-gtsrb": "signs_gtsrb",
    "visda17": "visda17",
    "gta5-cityscapes": "gta5_cityscapes",
    "gta5-bdd100k": "gta5_cityscapes",
    "gta5-mapillary": "gta5_cityscapes",
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
