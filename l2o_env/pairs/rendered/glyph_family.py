"""The named members of the embedded family: to train policies on, held out for transfer, of another network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from l2o_env.pairs.rendered.glyphs import build as build
from l2o_env.pairs.rendered.glyphs_config import GlyphsConfig
from l2o_env.pairs.spec import from_keywords

_MONO: dict[str, Any] = {"train_fonts": "mono", "validation_fonts": "mono"}
_SANS: dict[str, Any] = {"train_fonts": "sans", "validation_fonts": "sans"}
_SERIF: dict[str, Any] = {"train_fonts": "serif", "validation_fonts": "serif"}

TRAIN_MEMBERS: dict[str, dict[str, Any]] = {
    "glyphs-digits": {},
    "glyphs-sans": _SANS,
    "glyphs-gradient": {"background": "gradient"},
    "glyphs-noise": {"background": "noise"},
    "glyphs-seven-segment": {"renderer": "seven_segment"},
    "glyphs-stroke": {"renderer": "stroke"},
    "glyphs-parity": {"proxy_labels": "parity"},
    "glyphs-neighbours": {"proxy_labels": "neighbours"},
    "glyphs-noise-target": {"target_background": "noise"},
    "glyphs-painted-target": {"target_style": "paint"},
}
"""Settings that differ from :class:`GlyphsConfig`'s defaults, by name."""

TEST_MEMBERS: dict[str, dict[str, Any]] = {
    "glyphs-serif": _SERIF,
    "glyphs-mono-gradient": {**_MONO, "background": "gradient"},
    "glyphs-plain-target": {"target_background": "flat", "target_style": "paint"},
    "glyphs-merge3": {"proxy_labels": "mod3"},
    "glyphs-inverted": {"target_style": "inverted"},
}
"""Likewise; no policy is trained on these by default."""

OTHER_MEMBERS: dict[str, dict[str, Any]] = {"glyphs-digits-deep": {"network": "deep"}}
"""Likewise; members of another network, which can share no population with the others. In neither list."""


def member_config(name: str) -> GlyphsConfig:
    """Settings of a member by name."""
    return GlyphsConfig(**{**TRAIN_MEMBERS, **TEST_MEMBERS, **OTHER_MEMBERS}[name])


def settings_of(name: str, keywords: Mapping[str, Any]) -> GlyphsConfig:
    """Settings of a member, with other ones in place of its own.

    Raises:
        ConfigError: If there is no such setting, or it cannot work.
    """
    return from_keywords(GlyphsConfig, name, {**vars(member_config(name)), **keywords})
