"""The embedded segmentation pair: masks from renderings and scans, in both populations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from l2o_env import ConfigError, pairs
from l2o_env.config import EnvConfig
from l2o_env.env import Syn2RealEnv
from l2o_env.inner.build import make_population
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.window import Start
from l2o_env.models.base import check_layer_groups, new_generator
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.rendered.glyphs_seg import scene
from l2o_env.pairs.splits import Split

SMALL: dict[str, int] = {
    "n_train": 24, "n_validation": 8, "n_target": 8, "n_proxy_train": 32, "n_proxy_test": 8, "proxy_epochs": 1
}  # fmt: skip
SPEC = pairs.spec("glyphs-digits-seg", **SMALL)
SETTINGS: dict[str, Any] = {"pairs": SPEC, "budget": 4, "window": 2, "batch_size": 4, "device": "cpu"}


@pytest.fixture(scope="module")
def pair() -> Pair:
    return pairs.make(SPEC)


def test_every_pixel_of_ink_has_its_digits_class(pair: Pair) -> None:
    rng = np.random.default_rng(0)
    glyphs = rng.random((6, 16, 16), dtype=np.float32)
    labels = np.array([3, 0, 9, 5, 1, 1])
    ink, mask = scene(glyphs, labels, rng)
    assert (mask[ink <= 0.35] == 0).all()
    for i in range(3):
        assert set(np.unique(mask[i])) == {0, labels[2 * i] + 1, labels[2 * i + 1] + 1}
        assert ink[i].sum() == pytest.approx(glyphs[2 * i : 2 * i + 2].sum(), rel=1e-6)
        assert (mask[i] > 0).sum() == (glyphs[2 * i : 2 * i + 2] > 0.35).sum()


def test_its_splits(pair: Pair) -> None:
    for name, n, classes in (("train", 24, 11), ("validation", 8, 11), ("target", 8, 11), ("proxy_test", 8, 6)):
        split = getattr(pair, name)
        assert isinstance(split, Split)
        assert (split.images.shape, split.labels.shape) == ((n, 3, 32, 32), (n, 32, 32))
        assert (split.images.dtype, split.labels.dtype) == (torch.float32, torch.int64)
        assert -1 <= split.images.min() < split.images.max() <= 1
        assert 0 <= split.labels.min() < split.labels.max() < classes
        share = (split.labels > 0).float().mean()
        assert 0.05 < share < 0.3
    again = pairs.make("glyphs-digits-seg", **SMALL)
    assert torch.equal(again.target.images, pair.target.images)  # type: ignore[union-attr]
    other = pairs.make("glyphs-digits-seg", **SMALL, seed=1)
    assert not torch.equal(other.target.images, pair.target.images)  # type: ignore[union-attr]


def test_its_network_keeps_the_proxys_answers(pair: Pair) -> None:
    model = pair.make_model(new_generator(0))
    check_layer_groups(model)
    assert list(model.layer_groups()) == ["stem", "layer1", "layer2", "layer3", "merge", "head"]
    images = pair.train.images[:3]  # type: ignore[union-attr]
    logits, proxy_logits = model(images)
    assert logits.shape == (3, 11, 32, 32)
    torch.testing.assert_close(proxy_logits, pair.proxy(images))
    random = pair.make_random_model(new_generator(0))
    assert torch.equal(random.proxy_head.weight, model.proxy_head.weight)
    assert not torch.equal(random.stem.conv.weight, model.stem.conv.weight)


def test_stacked_and_looped_go_the_same_way(pair: Pair) -> None:
    config = EnvConfig(**SETTINGS)
    assert isinstance(make_population(config, 2), StackedPopulation)
    found = []
    for kind in (StackedPopulation, LoopedPopulation):
        population = kind([pair], 2, config, torch.float64)
        population.start({0: Start(0, 1, 2), 1: Start(0, 3, 4)})
        rates = np.full((2, population.n_layers), 0.05)
        window = population.run(rates, np.array([2, 1]))
        found.append((window, population.evaluate("target"), population.evaluate("proxy_test")))
        assert population.predictions("target")[0].shape == (8, 32, 32)
    for mine, theirs in zip(
        vars(found[0][0].measurements).values(), vars(found[1][0].measurements).values(), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)
    for name, values in found[0][0].layers.items():
        np.testing.assert_allclose(values, found[1][0].layers[name], rtol=1e-6, atol=1e-9)
    for k in (1, 2):
        torch.testing.assert_close(found[0][k].accuracy, found[1][k].accuracy)


def test_an_episode_learns(pair: Pair) -> None:
    env = Syn2RealEnv(**{**SETTINGS, "budget": 60, "window": 30}, implementation="looped")
    _, info = env.reset(seed=0)
    before = info["val_ce"]
    for _ in range(2):
        _, _, terminated, _, info = env.step(np.full(6, 0.7))
    assert terminated
    assert info["val_ce"] < 0.6 * before
    assert 0 <= env.evaluate("target") <= 1


def test_what_cannot_work_is_told() -> None:
    with pytest.raises(ConfigError, match=r"'glyphs-digits-seg': 'n_trian'\. Did you mean 'n_train'"):
        pairs.make("glyphs-digits-seg", n_trian=3)
    with pytest.raises(ConfigError, match="n_target is 0; expected an integer >= 1"):
        pairs.make("glyphs-digits-seg", n_target=0)
    with pytest.raises(ConfigError, match="Unknown background 'flet'"):
        pairs.make("glyphs-digits-seg", background="flet")
