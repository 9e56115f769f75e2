"""Pairs by name: built once, unknown names, names that are taken and given back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from l2o_env import pairs
from l2o_env.errors import ConfigError
from tests.tiny import tiny_pair


@pytest.fixture
def fleeting() -> Iterator[str]:
    """A pair that is registered as long as the test runs."""
    pairs.register("fleeting", tiny_pair, split="test")
    yield "fleeting"
    if "fleeting" in pairs.names():
        pairs.unregister("fleeting")


def _same(a: pairs.Split, b: pairs.Split) -> bool:
    return torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)


def test_without_keywords_a_pair_is_built_once(tiny: str) -> None:
    assert pairs.make(tiny) is pairs.make(tiny)
    assert pairs.make(tiny, seed=1) is not pairs.make(tiny, seed=1)
    assert _same(pairs.make(tiny).train, tiny_pair().train)


def test_unknown_names_say_the_closest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'glyphs-serif'"):
        pairs.make("glyph-serif")
    with pytest.raises(ConfigError, match="Did you mean 'n_train_per_class'"):
        pairs.make("glyphs-digits", n_train_per_clas=3)
    with pytest.raises(ConfigError, match="Did you mean 'glyphs-serif'"):
        pairs.unregister("glyph-serif")


def test_names_are_listed_by_split_in_the_order_of_registration(fleeting: str) -> None:
    assert pairs.names()[-1] == pairs.names("test")[-1] == fleeting
    assert fleeting not in pairs.names("train")


def test_a_name_is_taken_until_it_is_given_back(fleeting: str) -> None:
    first = pairs.make(fleeting)
    with pytest.raises(ValueError, match="'fleeting' is registered already; choose another name, or unregister that"):
        pairs.register(fleeting, tiny_pair)
    pairs.unregister(fleeting)
    with pytest.raises(ConfigError, match="Unknown pair 'fleeting'"):
        pairs.make(fleeting)
    pairs.register(fleeting, lambda: tiny_pair(n_train=12))
    second = pairs.make(fleeting)  # not the pair that was built by that name before
    assert (len(first.train), len(second.train)) == (60, 12)


def test_pairs_of_one_command_are_called_differently() -> None:
    deep = pairs.spec("glyphs-digits", network="deep")
    pairs.check_all(
        ["glyphs-digits", "glyphs-digits", "glyphs-serif", pairs.spec("glyphs-digits", network="deep", label="deep")]
    )
    with pytest.raises(
        ConfigError, match=r"Two pairs are called 'glyphs-digits' .*network=deep.*; give one another name"
    ):
        pairs.check_all(["glyphs-digits", deep])
    with pytest.raises(ConfigError, match="Unknown pair 'glyph'"):
        pairs.check_all(["glyph"])
