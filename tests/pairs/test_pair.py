"""What a pair says of itself, and that it can be sent to another process."""

from __future__ import annotations

import pickle
from dataclasses import replace

import torch
from PIL import Image

from l2o_env import pairs
from l2o_env.models import Optimizee, new_generator
from l2o_env.models.layout import Layout
from l2o_env.pairs.images.image_split import ImageSplit
from l2o_env.pairs.pair import is_streamed
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
