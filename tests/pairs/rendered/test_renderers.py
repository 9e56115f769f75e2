"""Rendered digits: they can be told apart, and validation has fonts of its own."""

from __future__ import annotations

import numpy as np
import pytest

from l2o_env.pairs.rendered import renderers


@pytest.mark.parametrize("renderer", renderers.RENDERERS)
def test_renderers_fill_the_box_and_tell_digits_apart(renderer: str) -> None:
    digits = np.repeat(np.arange(10), 30)
    counts = renderers.render(renderer, digits, np.random.default_rng(0), ("DejaVuSans", "cmr10"))
    assert counts.shape == (300, 8, 8)
    assert 0 == counts.min() < counts.max() == 16
    touched = counts.astype(int)
    high = (touched[:, 0].sum(1) > 0) & (touched[:, -1].sum(1) > 0)
    wide = (touched[:, :, 0].sum(1) > 0) & (touched[:, :, -1].sum(1) > 0)
    assert (high | wide).all()  # cropped, and scaled until it touches two opposite sides
    # Nearest mean, fitted on one half and tested on the other: the classes are what they are said to be.
    means = np.stack([counts[digits == d][:15].mean(0) for d in range(10)])
    rest = np.concatenate([counts[digits == d][15:] for d in range(10)])
    nearest = ((rest[:, None] - means[None]) ** 2).sum((2, 3)).argmin(1)
    assert (nearest == np.repeat(np.arange(10), 15)).mean() > 0.75


def test_seven_segments_light_as_on_a_display() -> None:
    assert [len(lit) for lit in renderers.LIT] == [6, 2, 5, 5, 4, 5, 6, 3, 7, 6]
    assert len(set(map(frozenset, renderers.LIT))) == 10


@pytest.mark.parametrize("fonts", renderers.FONT_SETS)
def test_fonts_exist_and_validation_has_others(fonts: str) -> None:
    train, validation = renderers.FONT_SETS[fonts]
    assert not set(train) & set(validation)
    fives = np.full(3, 5)
    drawn = [
        renderers.render("font", fives, np.random.default_rng(0), (font,)).tobytes() for font in train + validation
    ]
    assert len(set(drawn)) == len(train + validation)
