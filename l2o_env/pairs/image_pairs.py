"""The named pairs beside the embedded family; none of their modules is imported before a pair is asked for."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

from l2o_env.pairs.base import Pair, register

FACTORIES: dict[str, tuple[str, str]] = {
    "folders": ("folders", "make_folders"),
    "torchvision": ("torchvision_pair", "make_torchvision"),
    "digits": ("digits", "make_digits"),
    "glyphs-digits-seg": ("glyphs_seg", "make_glyphs_seg"),
    "glyphs-mnist": ("digits", "make_mnist"),
    "glyphs-usps": ("digits", "make_usps"),
    "glyphs-svhn": ("digits", "make_svhn"),
    "glyphs-emnist": ("digits", "make_emnist"),
    "signs-gtsrb": ("signs_gtsrb", "make_signs"),
    "visda17": ("visda17", "make_visda17"),
    "gta5-cityscapes": ("gta5_cityscapes", "make_gta5_cityscapes"),
    "gta5-bdd100k": ("gta5_cityscapes", "make_gta5_bdd100k"),
    "gta5-mapillary": ("gta5_cityscapes", "make_gta5_mapillary"),
}
"""Module and function that make a pair, by its name."""


def register_image_pairs() -> None:
    """Registers every one of them; builds none."""
    for name in FACTORIES:
        register(name, partial(_make, name))


def _make(name: str, **settings: Any) -> Pair:
    module, function = FACTORIES[name]
    return getattr(import_module(f"l2o_env.pairs.{module}"), function)(**settings)
