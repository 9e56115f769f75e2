"""What is held out of a source, and what is drawn of many images."""

from __future__ import annotations

import numpy as np
import pytest

from l2o_env.errors import ConfigError
from l2o_env.pairs.images.held_out import draw, hold_out

STRATA = np.repeat([3, 0, 7], [600, 300, 100])


@pytest.mark.parametrize(
    ("n", "expected"), [(3, (1, 1, 1)), (10, (3, 6, 1)), (100, (30, 60, 10)), (999, (300, 599, 100))]
)
def test_of_each_class_its_share_is_drawn(n: int, expected: tuple[int, int, int]) -> None:
    chosen = draw(STRATA, n, seed=0)
    assert len(chosen) == n
    assert (np.diff(chosen) > 0).all()
    counts = [(STRATA[chosen] == stratum).sum() for stratum in (0, 3, 7)]
    assert np.abs(np.subtract(counts, expected)).max() <= 1
    assert min(counts) >= 1


def test_the_seed_determines_a_draw() -> None:
    first, again, other = (draw(STRATA, 50, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    for n in (0, 1000, 2000):
        np.testing.assert_array_equal(draw(STRATA, n, 0), np.arange(1000))
    # Any image may be drawn.
    assert len(np.unique(np.concatenate([draw(STRATA, 50, seed) for seed in range(300)]))) > 990


@pytest.mark.parametrize(
    ("n", "expected"),
    [(1, (0, 1, 0)), (2, (1, 1, 0)), (3, (1, 1, 1)), (7, (2, 4, 1)), (10, (3, 6, 1)), (996, (299, 598, 99)),
     (997, (299, 599, 99))],
)  # fmt: skip
def test_of_single_images_exactly_so_many_are_held_out(n: int, expected: tuple[int, int, int]) -> None:
    train, held_out = hold_out(STRATA, None, n, 0, "images")
    assert sorted([*train, *held_out]) == list(range(1000))
    assert tuple((STRATA[held_out] == stratum).sum() for stratum in (0, 3, 7)) == expected
    assert set(STRATA[train]) == {0, 3, 7}


def test_a_class_of_one_image_is_trained_on() -> None:
    train, held_out = hold_out(np.array([0, 1, 1, 1, 2, 2]), None, 3, 0, "images")
    assert 0 in train
    assert len(held_out) == 3


@pytest.mark.parametrize("n", [0, -1, 998])
def test_too_many_or_none_is_told(n: int) -> None:
    with pytest.raises(
        ConfigError, match=rf"n_validation is {n} \(the default, unless .* give n_validation=1 to 997, such"
    ):
        hold_out(STRATA, None, n, 0, "images")
    with pytest.raises(ConfigError, match="there are 2 images, and one of each class is needed to train on; give more"):
        hold_out(np.array([0, 1]), None, 1, 0, "images")


def test_what_belongs_together_is_not_divided() -> None:
    groups = [f"{stratum}/{i // 10}" for i, stratum in enumerate(STRATA)]
    train, held_out = hold_out(STRATA, groups, 100, 0, "images")
    assert sorted([*train, *held_out]) == list(range(1000))
    assert not {groups[i] for i in train} & {groups[i] for i in held_out}
    assert [(STRATA[held_out] == stratum).sum() for stratum in (3, 0, 7)] == [60, 30, 10]


def test_every_class_is_on_both_sides_where_it_has_two_groups() -> None:
    strata = np.repeat([0, 1, 2], [97, 3, 4])
    train, held_out = hold_out(strata[:100], None, 10, 0, "images")
    assert np.bincount(strata[held_out]).tolist() == [9, 1]  # a share of 0.3 is one image
    groups = [str(i // 50) if stratum == 0 else f"{stratum}" for i, stratum in enumerate(strata)]
    groups[97] = "another"
    train, held_out = hold_out(strata, groups, 100, 0, "images")
    for stratum, names in ((0, {"0", "1"}), (1, {"another", "1"})):
        sides = [{groups[i] for i in side if strata[i] == stratum} for side in (train, held_out)]
        assert sides[0] | sides[1] == names and len(sides[0]) == len(sides[1]) == 1
    assert (strata[train] == 2).sum() == 4  # of one group alone
    with pytest.raises(ConfigError, match="The images belong to one group each class, so none can be held out"):
        hold_out(np.repeat([0, 1], 3), list("aaabbb"), 2, 0, "images")


def test_the_seed_determines_what_is_held_out() -> None:
    found = [hold_out(STRATA, None, 100, seed, "images")[1].tolist() for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
