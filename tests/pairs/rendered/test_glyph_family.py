"""The members of the embedded family: which there are, and that all are alike."""

from __future__ import annotations

import pytest
import torch

from l2o_env import pairs
from l2o_env.errors import ConfigError
from l2o_env.models import new_generator
from l2o_env.pairs.rendered.glyph_family import OTHER_MEMBERS, TEST_MEMBERS, TRAIN_MEMBERS, member_config
from l2o_env.pairs.rendered.glyphs_config import GlyphsConfig
from tests.pairs.small import SMALL


def test_members() -> None:
    train, test = pairs.names("train"), pairs.names("test")
    assert (train, test) == (tuple(TRAIN_MEMBERS), tuple(TEST_MEMBERS))
    assert not {*train, *test} & set(OTHER_MEMBERS) and set(OTHER_MEMBERS) < set(pairs.names())
    assert train[0] == "glyphs-digits"
    assert len(train) >= 8
    assert len(test) == 5
    configs = [member_config(name) for name in train + test]
    assert len(set(configs)) == len(configs)
    assert configs[0] == GlyphsConfig()


def test_a_member_of_another_network(untrained: list[int]) -> None:
    deep, small = (pairs.make(name, **SMALL) for name in ("glyphs-digits-deep", "glyphs-digits"))
    assert len(untrained) == 2  # a proxy of its own
    assert (deep.layout.n_layers, small.layout.n_layers) == (7, 5)
    assert torch.equal(deep.train.images, small.train.images)
    assert deep.proxy(deep.train.images).shape == (30, 5)
    assert "glyphs-digits-deep" not in pairs.names("train") + pairs.names("test")
    with pytest.raises(ConfigError, match="Unknown network 'deepest'"):
        pairs.make("glyphs-digits", network="deepest")


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
