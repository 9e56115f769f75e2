"""Aggregates against rliable's definitions and against what is known of small samples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from l2o_env.errors import ConfigError
from l2o_env.evaluation import aggregate

metrics = pytest.importorskip("rliable.metrics")
SCORES = np.random.default_rng(0).normal(size=(8, 3)) + np.array([0.0, 5.0, 10.0])


def test_the_interquartile_mean_is_rliables_and_its_interval_is_stratified() -> None:
    found = aggregate.iqm(SCORES)
    assert found.value == pytest.approx(np.sort(SCORES.reshape(-1))[6:18].mean()) == metrics.aggregate_iqm(SCORES)
    # Pairs differ by far more than runs do: an interval that mixed them would be several times as wide.
    assert found.low < found.value < found.high
    assert found.high - found.low < 2.0


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    found = aggregate.mean(SCORES, n=20_000)
    error = np.sqrt((SCORES.var(axis=0) / 8).sum()) / 3
    assert found.value == pytest.approx(SCORES.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.03)


def test_a_profile_counts_the_runs_above() -> None:
    scores = np.array([[1.0, 2.0], [3.0, 4.0]])
    found = aggregate.profile(scores, np.array([0.0, 2.0, 3.5, 4.0]))
    np.testing.assert_allclose(found.value, [1.0, 0.5, 0.25, 0.0])
    np.testing.assert_allclose(found.low, [1.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(found.high, [1.0, 1.0, 0.5, 0.0])  # at 3.5 only the second pair can be above


def test_the_probability_of_improvement_is_rliables_with_ties_of_half() -> None:
    x, y = np.array([[1.0, 1.0], [2.0, 3.0]]), np.array([[1.0, 0.0], [0.0, 5.0], [3.0, 1.0]])
    # first pair: 1 against (1, 0, 3): 0.5 + 1 + 0; 2: 1 + 1 + 0. second: 1 against (0, 5, 1): 1 + 0 + 0.5; 3: 1 + 0 + 1
    expected = (3.5 / 6 + 3.5 / 6) / 2
    found = aggregate.probability_of_improvement(x, y)
    assert found.value == pytest.approx(expected) == metrics.probability_of_improvement(x, y)
    assert 0 <= found.low < expected < found.high <= 1
    sure = aggregate.probability_of_improvement(x + 10, y)
    assert (sure.value, sure.low, sure.high) == (1.0, 1.0, 1.0)


def test_the_bootstrap_of_improvement_agrees_with_resampling_by_hand() -> None:
    x, y = SCORES + 0.5, SCORES[:6]
    rng, drawn = np.random.default_rng(1), []
    for _ in range(1500):
        xs = np.take_along_axis(x, rng.integers(len(x), size=x.shape), 0)
        ys = np.take_along_axis(y, rng.integers(len(y), size=y.shape), 0)
        drawn.append(((xs[:, None] > ys) + 0.5 * (xs[:, None] == ys)).mean())
    found = aggregate.probability_of_improvement(x, y)
    np.testing.assert_allclose([found.low, found.high], np.quantile(drawn, [0.025, 0.975]), atol=0.02)


def test_the_same_seed_gives_the_same_interval_and_no_global_generator_is_touched() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    assert aggregate.iqm(SCORES, seed=3) == aggregate.iqm(SCORES, seed=3) != aggregate.iqm(SCORES, seed=4)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index]


def test_scores_are_runs_by_pairs() -> None:
    frame = pd.DataFrame({"pair": list("aabb"), "run": "r", "x": [1.0, 2.0, 3.0, 4.0]})
    np.testing.assert_array_equal(aggregate.score_matrix(frame, "x"), [[1, 3], [2, 4]])
    # Trained twice: what varies is the training run, so its mean over the seeds is the score.
    twice = pd.concat([frame, frame.assign(run="s", x=frame["x"] + 10)])
    np.testing.assert_array_equal(aggregate.score_matrix(twice, "x"), [[1.5, 3.5], [11.5, 13.5]])
    np.testing.assert_array_equal(aggregate.score_matrix(frame, "x", ["b", "a"]), [[3, 1], [4, 2]])
    np.testing.assert_array_equal(aggregate.score_matrix(frame.iloc[:3], "x", ["a"]), [[1], [2]])
    with pytest.raises(ConfigError, match="as many for each pair"):
        aggregate.score_matrix(frame.iloc[:3], "x")


def test_an_estimate_as_text() -> None:
    assert aggregate.Estimate(0.5, -0.00001, 1.0).text() == "0.500 [0.000, 1.000]"
    assert aggregate.Estimate(0.5, 0.25, 1.0).text(1, "\n") == "0.5\n[0.2, 1.0]"
