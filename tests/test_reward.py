"""Rewards: hand-computed values, sign, divergence, telescoping."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from l2o_env.config import EnvConfig, RewardName
from l2o_env.inner.window import Measurements
from l2o_env.pairs.pair import Pair
from l2o_env.reward import PARTS, VALUES, judged_by, kl_weight, reward, reward_parts, value

FIELDS = (
    "train_ce", "train_kl", "val_ce", "val_kl", "val_accuracy", "target_accuracy", "shifted_accuracy", "shifted_kl",
)  # fmt: skip
BEFORE = Measurements(*(np.array([x, x]) for x in (2.0, 0.5, 1.5, 0.25, 0.5, 0.375, 0.25, 0.5)))
AFTER = Measurements(*(np.array([x, x]) for x in (1.0, 1.0, 1.25, 0.75, 0.75, 0.25, 0.5, 0.375)))
FINE = np.zeros(2, np.bool_)
W = np.array([2.0, 2.0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("transfer", 0.5 - 2 * 0.375 - (0.25 - 2 * 0.5)),
        ("proxy_guided", -(1.25 + 2 * 0.75) + (1.5 + 2 * 0.25)),
        ("val_loss", -1.25 + 1.5),
        ("val_accuracy", 0.75 - 0.5),
        ("train_loss", -(1.0 + 0.5 * 1.0) + (2.0 + 0.5 * 0.5)),
        ("target_oracle", 0.25 - 0.375),
    ],
)
def test_values_by_hand(name: RewardName, expected: float) -> None:
    config = EnvConfig(reward=name, guidance_weight=0.5)
    np.testing.assert_array_equal(reward(BEFORE, AFTER, FINE, config, W), [expected, expected])


PENALTY = [0.0, -5.0]


@pytest.mark.parametrize(
    ("name", "ce", "kl", "accuracy"),
    [
        ("transfer", 0.0, 0.25, 0.25),
        ("proxy_guided", 0.25, -1.0, 0.0),
        ("val_loss", 0.25, 0.0, 0.0),
        ("val_accuracy", 0.0, 0.0, 0.25),
        ("train_loss", 1.0, -0.25, 0.0),
        ("target_oracle", 0.0, 0.0, -0.125),
    ],
)
def test_parts_by_hand_sum_to_the_reward(name: RewardName, ce: float, kl: float, accuracy: float) -> None:
    config = EnvConfig(reward=name, guidance_weight=0.5, divergence_penalty=5.0)
    diverged = np.array([False, True])
    parts = reward_parts(BEFORE, AFTER, diverged, config, W)
    assert tuple(parts) == PARTS
    for key, part in zip(PARTS, (ce, kl, accuracy), strict=False):
        assert parts[key].tolist() == [part, 0.0], key
    assert parts["reward_penalty"].tolist() == PENALTY
    np.testing.assert_allclose(sum(parts.values()), reward(BEFORE, AFTER, diverged, config, W))


def test_the_training_loss_is_the_one_that_is_trained_with() -> None:
    config = EnvConfig(reward="train_loss", guidance="none", guidance_weight=0.5)
    np.testing.assert_array_equal(reward(BEFORE, AFTER, FINE, config, W), [1.0, 1.0])


def _with(**changes: float) -> Measurements:
    values = {name: getattr(BEFORE, name) + changes.get(name, 0.0) for name in FIELDS}
    return Measurements(**values)


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("transfer", {"shifted_accuracy": 0.1}),
        ("transfer", {"shifted_kl": -0.1}),
        ("proxy_guided", {"val_ce": -0.1}),
        ("proxy_guided", {"val_kl": -0.1}),
        ("val_loss", {"val_ce": -0.1}),
        ("val_accuracy", {"val_accuracy": 0.1}),
        ("train_loss", {"train_ce": -0.1}),
        ("train_loss", {"train_kl": -0.1}),
        ("target_oracle", {"target_accuracy": 0.1}),
    ],
)
def test_what_is_better_is_rewarded(name: RewardName, better: dict[str, float]) -> None:
    config = EnvConfig(reward=name)
    assert (reward(BEFORE, _with(**better), FINE, config, W) > 0).all()
    assert (reward(_with(**better), BEFORE, FINE, config, W) < 0).all()


@pytest.mark.parametrize("name", ["transfer", "proxy_guided", "val_loss", "val_accuracy", "train_loss"])
def test_only_the_oracle_reads_the_target(name: RewardName) -> None:
    config = EnvConfig(reward=name)
    without = Measurements(**{**vars(AFTER), "target_accuracy": np.full(2, np.nan)})
    np.testing.assert_array_equal(reward(BEFORE, without, FINE, config, W), reward(BEFORE, AFTER, FINE, config, W))


def test_divergence_costs_the_penalty_and_nothing_else() -> None:
    config = EnvConfig(divergence_penalty=3.5)
    broken = Measurements(**{**vars(AFTER), "val_ce": np.array([np.nan, 1.25])})
    found = reward(BEFORE, broken, np.array([True, False]), config, W)
    assert found[0] == -3.5
    assert found[1] == reward(BEFORE, AFTER, FINE, config, W)[1]


@pytest.mark.parametrize("name", list(VALUES))
def test_returns_telescope(name: RewardName) -> None:
    rng = np.random.default_rng(0)
    config = EnvConfig(reward=name)
    path = [Measurements(*rng.uniform(0, 2, (8, 4))) for _ in range(9)]
    fine, w = np.zeros(4, np.bool_), rng.uniform(0, 2, 4)
    total = sum(reward(a, b, fine, config, w) for a, b in pairwise(path))
    np.testing.assert_allclose(total, VALUES[name](path[-1], config, w) - VALUES[name](path[0], config, w), atol=1e-12)


def test_the_value_weighs_the_kl() -> None:
    guided, transfer = EnvConfig(reward="proxy_guided"), EnvConfig(reward="transfer")
    np.testing.assert_array_equal(value(AFTER, guided, 0.0), [-1.25, -1.25])
    np.testing.assert_array_equal(value(AFTER, guided, np.array([0.0, 2.0])), [-1.25, -2.75])
    np.testing.assert_array_equal(value(AFTER, transfer, np.array([0.0, 2.0])), [0.5, -0.25])


@pytest.mark.parametrize("name", list(VALUES))
def test_other_rewards_are_judged_by_the_guided_value(name: RewardName) -> None:
    assert judged_by(EnvConfig(reward=name)) == (name if name == "transfer" else "proxy_guided")


@pytest.mark.parametrize(
    ("classes", "proxy_classes", "expected"),
    [(10, 10, 1.0), (10, 2, math.log2(10)), (10, 1000, 1 / 3), (2, 4, 0.5), (4, 1, 2.0)],
)
def test_the_kl_counts_as_the_cross_entropy_does(classes: int, proxy_classes: int, expected: float) -> None:
    pair = cast(Pair, SimpleNamespace(n_classes=classes, n_proxy_classes=proxy_classes))
    assert kl_weight(EnvConfig(reward="proxy_guided"), pair) == pytest.approx(expected)
    beside_accuracy = kl_weight(EnvConfig(reward="transfer"), pair)
    assert beside_accuracy * 4 * math.log(classes) == pytest.approx(expected)
    assert kl_weight(EnvConfig(reward="transfer", kl_weight=0.25), pair) == 0.25
