"""Settings of the embedded family that cannot work."""

from __future__ import annotations

from typing import Any

import pytest

from l2o_env.errors import ConfigError
from l2o_env.pairs.rendered.glyphs_config import GlyphsConfig
from l2o_env.pairs.rendered.renderers import FONT_SETS


def test_labels_and_fonts_by_name_or_as_they_are() -> None:
    config = GlyphsConfig(proxy_labels="parity", train_fonts="serif", validation_fonts=("DejaVuSans", "cmss10"))
    assert config.proxy_classes() == GlyphsConfig(proxy_labels=(0, 1) * 5).proxy_classes() == (0, 1) * 5
    assert config.fonts(validation=False) == FONT_SETS["serif"][0]
    assert config.fonts(validation=True) == ("DejaVuSans", "cmss10")
    assert GlyphsConfig().fonts(validation=True) == FONT_SETS["text"][1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"renderer": "fonts"}, "Unknown renderer 'fonts'. Did you mean 'font'"),
        ({"background": "flta"}, "Did you mean 'flat'"),
        ({"target_style": "x"}, "Known: 'difference', 'inverted', 'paint'"),
        ({"target_background": 3}, "Unknown target_background 3"),
        ({"train_fonts": "serifs"}, "Did you mean 'serif'"),
        ({"train_fonts": ("Helvetica",)}, "Unknown font 'Helvetica'"),
        ({"train_fonts": ()}, "name at least one"),
        ({"validation_fonts": ("DejaVuSans",)}, r"share \['DejaVuSans'\]"),
        ({"renderer": "stroke", "validation_renderer": "stroke"}, "both 'stroke'"),
        ({"proxy_labels": "mod4"}, "Unknown proxy_labels 'mod4'"),
        ({"proxy_labels": (0, 1)}, "ten integers"),
        ({"proxy_labels": (0,) * 10}, "at least two"),
        ({"proxy_labels": (0, 2) * 5}, "without a gap"),
        ({"n_train_per_class": 0}, "n_train_per_class is 0; expected an integer >= 1"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"min_contrast": float("nan")}, "min_contrast is nan"),
        ({"min_contrast": 0.5}, "between 0 and 0.4"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GlyphsConfig(**settings)
