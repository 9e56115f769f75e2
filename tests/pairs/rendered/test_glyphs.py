"""A member of the embedded family: its images depend on the seed alone, its networks start from the proxy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from l2o_env import pairs
from l2o_env.errors import ConfigError
from l2o_env.models import SmallNet, check_layer_groups, new_generator
from tests.pairs.small import QUICK, SMALL


def _same(a: pairs.Split, b: pairs.Split) -> bool:
    return torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)


@pytest.mark.parametrize("name", ["glyphs-digits", "glyphs-stroke", "glyphs-seven-segment", "glyphs-mono-gradient"])
def test_the_seed_alone_determines_the_images(name: str, untrained: list[int]) -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, again, other = (pairs.make(name, seed=seed, **SMALL) for seed in (3, 3, 4))
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()
    for part in ("train", "validation", "target", "proxy_test"):
        assert _same(getattr(first, part), getattr(again, part)), part
        assert not torch.equal(getattr(first, part).images, getattr(other, part).images), part


def test_shifted_images_are_of_another_renderer_on_other_backgrounds(untrained: list[int]) -> None:
    fonts, strokes, again = (pairs.make(name, **SMALL) for name in ("glyphs-digits", "glyphs-stroke", "glyphs-serif"))
    shifted = fonts.split("shifted")
    assert isinstance(shifted, pairs.Split)
    assert _same(shifted, again.split("shifted"))  # whatever a pair trains on
    assert torch.equal(shifted.labels, fonts.validation.labels)
    assert not torch.equal(shifted.images, strokes.split("shifted").images)
    # A flat background has no variance in the corners, where there is no ink.
    corners = torch.stack([shifted.images[:, :, y, x] for y in (0, 15) for x in (0, 15)])
    assert (corners.std(0).amax(1) > 0).all()


def test_validation_does_not_depend_on_how_many_training_images_there_are(untrained: list[int]) -> None:
    few = pairs.make("glyphs-digits", **SMALL)
    many = pairs.make("glyphs-digits", **{**SMALL, "n_train_per_class": 5})
    assert _same(few.validation, many.validation)


def test_label_noise_changes_a_share_of_the_training_labels_and_nothing_else(untrained: list[int]) -> None:
    many = {**SMALL, "n_train_per_class": 40}
    clean, noisy, none = (pairs.make("glyphs-digits", **many, label_noise=share) for share in (0.0, 0.5, 1.0))
    assert torch.equal(clean.train.images, noisy.train.images)
    assert _same(clean.validation, noisy.validation)
    assert (clean.train.labels != noisy.train.labels).float().mean() == pytest.approx(0.5 * 0.9, abs=0.06)
    assert (clean.train.labels != none.train.labels).float().mean() == pytest.approx(0.9, abs=0.04)
    with pytest.raises(ConfigError, match=r"label_noise is 2\.0; expected a share from 0 to 1\."):
        pairs.make("glyphs-digits", label_noise=2.0)


def test_models_start_from_the_proxy_and_are_drawn_from_the_generator(untrained: list[int]) -> None:
    pair = pairs.make("glyphs-digits", **SMALL)
    images = pair.train.images[:5]
    first, same, other = (pair.make_model(new_generator(seed)) for seed in (1, 1, 2))
    assert isinstance(first, SmallNet)
    check_layer_groups(first)
    assert torch.equal(first(images)[1], pair.proxy(images))
    assert torch.equal(first(images)[0], same(images)[0])
    assert not torch.equal(first(images)[0], other(images)[0])
    drawn = pair.make_random_model(new_generator(1))
    assert isinstance(drawn, SmallNet)
    assert torch.equal(drawn.proxy_head.weight, first.proxy_head.weight)
    assert torch.equal(drawn.head[0].weight, first.head[0].weight)
    assert not torch.equal(drawn.stem.conv.weight, first.stem.conv.weight)
    assert not any(p.requires_grad for p in pair.proxy.parameters())


def test_members_that_share_a_proxy_train_it_once(untrained: list[int]) -> None:
    for name in ("glyphs-digits", "glyphs-gradient", "glyphs-serif", "glyphs-stroke"):
        pairs.make(name, **SMALL)
    assert untrained == [748 * 6]
    pairs.make("glyphs-digits", **{**SMALL, "n_train_per_class": 4, "min_contrast": 0.1})
    assert len(untrained) == 1
    for changed in (
        {"seed": 1},
        {"proxy_labels": "parity"},
        {"proxy_labels": "neighbours"},
        {"target_background": "noise"},
        {"target_style": "inverted"},
        {"target_style": "paint"},
        {"target_style": "paint", "min_contrast": 0.1},
        {"proxy": replace(QUICK, learning_rate=0.05)},
    ):
        pairs.make("glyphs-digits", **{**SMALL, **changed})
    assert len(untrained) == 9
