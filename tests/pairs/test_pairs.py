"""The embedded family: what its images are made of, that they depend on the seed alone, and its members."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from l2o_env import pairs
from l2o_env.errors import ConfigError
from l2o_env.models import SmallNet, check_layer_groups, new_generator
from l2o_env.pairs.proxies.pretraining import ProxyTraining
from l2o_env.pairs.rendered import backgrounds as bg
from l2o_env.pairs.rendered import glyph_family as members
from l2o_env.pairs.rendered import glyphs, renderers
from l2o_env.pairs.rendered.glyphs_config import GlyphsConfig
from tests.tiny import tiny_pair

QUICK = ProxyTraining(epochs=1, batch_size=256)
SMALL: dict[str, Any] = {"n_train_per_class": 3, "n_validation_per_class": 2, "proxy": QUICK}


def test_members() -> None:
    train, test = pairs.names("train"), pairs.names("test")
    assert train[0] == "glyphs-digits"
    assert len(train) >= 8
    assert len(test) == 5
    configs = [members.member_config(name) for name in train + test]
    assert len(set(configs)) == len(configs)
    assert configs[0] == GlyphsConfig()


def test_a_member_of_another_network(untrained: list[int]) -> None:
    deep, small = (pairs.make(name, **SMALL) for name in ("glyphs-digits-deep", "glyphs-digits"))
    assert len(untrained) == 2  # a proxy of its own
    assert len(deep.make_model(new_generator(0)).layer_groups()) == 7
    assert torch.equal(deep.train.images, small.train.images)
    assert deep.proxy(deep.train.images).shape == (30, 5)
    assert "glyphs-digits-deep" not in pairs.names("train") + pairs.names("test")
    with pytest.raises(ConfigError, match="Unknown network 'deeper'"):
        pairs.make("glyphs-digits", network="deeper")


def test_importing_pairs_loads_nothing_heavy() -> None:
    code = "import sys, l2o_env.pairs; print([m for m in ('PIL', 'sklearn', 'matplotlib', 'rich') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("name", pairs.names("train") + pairs.names("test"))
def test_every_member_has_the_shapes_of_the_family(name: str, untrained: list[int]) -> None:
    pair = pairs.make(name, **SMALL)
    assert pair.name == name
    assert pair.target is not None
    sizes = [len(split) for split in (pair.train, pair.validation, pair.target, pair.proxy_test)]
    assert sizes == [30, 20, 899, 300]
    for split in (pair.train, pair.validation, pair.target, pair.proxy_test):
        assert split.images.shape[1:] == (3, 16, 16)
        assert split.images.is_contiguous()
        assert (split.images.dtype, split.labels.dtype) == (torch.float32, torch.int64)
        assert -1.0 <= split.images.min() < -0.5 < 0.5 < split.images.max() <= 1.0
    assert torch.equal(pair.train.labels.bincount(), torch.full((10,), 3))
    assert set(pair.target.labels.tolist()) == set(range(10)) == set(range(pair.n_classes))
    assert set(pair.proxy_test.labels.tolist()) == set(range(pair.n_proxy_classes))
    logits, proxy_logits = pair.make_model(new_generator(0))(pair.train.images[:2])
    assert (logits.shape, proxy_logits.shape) == ((2, 10), (2, pair.n_proxy_classes))


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


def test_validation_does_not_depend_on_how_many_training_images_there_are(untrained: list[int]) -> None:
    few = pairs.make("glyphs-digits", **SMALL)
    many = pairs.make("glyphs-digits", **{**SMALL, "n_train_per_class": 5})
    assert _same(few.validation, many.validation)


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


def test_a_pair_pickles(untrained: list[int]) -> None:
    pair = pairs.make("glyphs-digits", **SMALL)
    copy = pickle.loads(pickle.dumps(pair))
    a, b = (p.make_model(new_generator(0))(pair.train.images)[0] for p in (pair, copy))
    assert torch.equal(a, b)


def test_without_keywords_a_pair_is_built_once(tiny: str) -> None:
    assert pairs.make(tiny) is pairs.make(tiny)
    assert pairs.make(tiny, seed=1) is not pairs.make(tiny, seed=1)
    assert _same(pairs.make(tiny).train, tiny_pair().train)


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


def test_no_digit_of_the_target_or_the_test_pretrains_the_proxy() -> None:
    first, second = glyphs.uci_halves()
    pretraining, held_out = glyphs.divide_by_writer(first)
    assert [len(d[1]) for d in (pretraining, held_out, second)] == [748, 150, 899]
    from sklearn.datasets import load_digits

    labels = np.concatenate([d[1] for d in (pretraining, held_out, second)])
    assert (labels == load_digits().target).all()


def test_patches_come_from_one_half_of_the_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    photograph = np.zeros((40, 60, 3), dtype=np.uint8)
    photograph[:, 30:] = 255
    monkeypatch.setattr(bg, "_photographs", lambda: (photograph, photograph))
    rng = np.random.default_rng(0)
    assert (bg.backgrounds("photo", 200, rng, "left") == 0.0).all()
    assert (bg.backgrounds("photo", 200, rng, "right") == 1.0).all()


@pytest.mark.parametrize("kind", ["flat", "gradient", "noise"])
def test_backgrounds(kind: str) -> None:
    images = bg.backgrounds(kind, 500, np.random.default_rng(0))
    assert images.shape == (500, 16, 16, 3)
    assert images.dtype == np.float32
    assert 0.0 <= images.min() < images.max() <= 1.0
    assert abs(images.mean() - 0.5) < 0.03
    spread = images.std((1, 2)).mean()
    assert {"flat": spread < 1e-6, "gradient": 0.05 < spread < 0.15, "noise": 0.08 < spread < 0.15}[kind]


def test_styles_by_hand() -> None:
    rng = np.random.default_rng(0)
    ink = np.zeros((50, 16, 16), dtype=np.float32)
    ink[:, 4:8] = 1.0
    behind = np.full((50, 16, 16, 3), 0.3, dtype=np.float32)
    difference = bg.lay_ink("difference", ink, behind, rng)
    assert np.allclose(difference[:, 4:8], 0.7)
    assert np.allclose(difference[:, 8:], 0.3)
    assert np.allclose(bg.lay_ink("inverted", ink, behind, rng), 1.0 - difference)
    painted = bg.lay_ink("paint", ink, behind, rng, min_contrast=0.25)
    assert np.allclose(painted[:, 8:], 0.3)
    assert np.allclose(painted[:, 4:8], painted[:, 4:5, :1])
    contrast = np.abs(painted[:, 4, 0] - 0.3).mean(-1)
    assert 0.25 <= contrast.min() < 0.3


def test_upsampling_is_torchs_bilinear() -> None:
    small = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32)
    right = F.interpolate(torch.from_numpy(small)[:, None], size=(16, 16), mode="bilinear")[:, 0]
    assert np.allclose(bg.upsample(small), right.numpy(), atol=1e-6)


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
    assert [len(lit) for lit in renderers._LIT] == [6, 2, 5, 5, 4, 5, 6, 3, 7, 6]
    assert len(set(map(frozenset, renderers._LIT))) == 10


@pytest.mark.parametrize("fonts", renderers.FONT_SETS)
def test_fonts_exist_and_validation_has_others(fonts: str) -> None:
    train, validation = renderers.FONT_SETS[fonts]
    assert not set(train) & set(validation)
    glyph_shapes = {font: np.asarray(renderers._draw_glyph(font, 5)).tobytes() for font in train + validation}
    assert len(set(glyph_shapes.values())) == len(train + validation)


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


def test_unknown_names_say_the_closest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'glyphs-serif'"):
        pairs.make("glyph-serif")
    with pytest.raises(ConfigError, match="Did you mean 'n_train_per_class'"):
        pairs.make("glyphs-digits", n_train_per_clas=3)
