"""What a pair says of itself, and that it can be sent to another process."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch
from PIL import Image

from l2o_env import pairs
from l2o_env.errors import ConfigError
from l2o_env.models import Optimizee, new_generator
from l2o_env.models.layout import Layout
from l2o_env.pairs.images.image_split import ImageSplit
from l2o_env.pairs.pair import is_streamed
from l2o_env.pairs.splits import Split
from tests.pairs.small import SMALL
from tests.tiny import tiny_pair


def test_a_pair_pickles(untrained: list[int]) -> None:
    pair = pairs.make("glyphs-digits", **SMALL)
    copy = pickle.loads(pickle.dumps(pair))
    a, b = (p.make_model(new_generator(0))(pair.train.images)[0] for p in (pair, copy))
    assert torch.equal(a, b)
    assert copy.layout == pair.layout


def test_its_layout_is_that_of_its_optimizees_and_is_found_once() -> None:
    pair = tiny_pair(n_convolutions=3)
    models: list[Optimizee] = []

    def counted(generator: torch.Generator) -> Optimizee:
        models.append(pair.make_model(generator))
        return models[-1]

    state = torch.get_rng_state()
    counting = replace(pair, make_model=counted)
    assert counting.layout is counting.layout
    assert len(models) == 1
    assert counting.layout == Layout.of(models[0])
    assert counting.layout.group_names == ("stem", "layer1", "layer2", "layer3", "head")
    assert replace(pair, make_model=tiny_pair().make_model).layout.n_layers == 3  # a pair of its own
    assert torch.equal(torch.get_rng_state(), state)


def test_a_pair_is_streamed_if_any_of_its_images_are() -> None:
    class Grey:
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> tuple[Image.Image, int]:
            return Image.new("RGB", (8, 8)), 0

    pair = tiny_pair()
    assert not is_streamed(pair)
    for part in ("train", "validation", "target", "proxy_test"):
        assert is_streamed(replace(pair, **{part: ImageSplit(Grey(), None)}))  # type: ignore[arg-type]
    assert not is_streamed(replace(pair, target=None, proxy_test=None))


def test_a_pair_that_cannot_be_meant_is_told_when_it_is_made() -> None:
    pair = tiny_pair()
    images, labels = pair.train.images, pair.train.labels  # type: ignore[union-attr]
    beyond = pairs.Split(images, labels + 1)
    for part, words in (
        ("train", "training images"),
        ("validation", "validation images"),
        ("proxy_test", "proxy's test images"),
    ):
        with pytest.raises(ConfigError, match=f"labels of the {words} of the pair 'tiny' are none of its"):
            replace(pair, **{part: beyond})  # type: ignore[arg-type]
    untested = replace(pair, target=beyond)  # which training never reads
    with pytest.raises(ConfigError, match="labels of the target images of the pair 'tiny' are none of its"):
        untested.check_target()
    with pytest.raises(ConfigError, match="'tiny' has 1 classes; expected two"):
        replace(pair, n_classes=1)
    with pytest.raises(ConfigError, match="'tiny' names 2 classes and has 3"):
        replace(pair, classes=("a", "b"))


def test_a_proxy_that_is_not_finite_is_told_by_its_weight() -> None:
    pair = tiny_pair()
    with torch.no_grad():
        next(pair.proxy.parameters()).view(-1)[0] = torch.nan
    with pytest.raises(
        ConfigError, match=r"proxy of the pair 'tiny' cannot be used: 1 of .*'net\.stem\.weight' are NaN"
    ):
        replace(pair)


def test_a_pair_says_what_it_is_on_one_line() -> None:
    pair = tiny_pair()
    sizes = f"train={len(pair.train)}, validation={len(pair.validation)}, target={len(pair.target or ())}"
    assert repr(pair).startswith(f"Pair({pair.name!r}, n_classes={pair.n_classes}, {sizes}, proxy_test=")
    split = Split(torch.zeros(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64), torch.zeros(2, 4, 4, dtype=torch.bool))
    assert repr(split) == "Split(images=(2, 3, 4, 4), labels=(2,), masks)"
