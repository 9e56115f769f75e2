"""The tuned opponents: they find what is best by V, within their budget, from their seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents.opponents import CrossEntropyConfig, PerLayer, tune_per_layer, tune_uniform
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.evaluate import evaluate
from l2o_env.vector_env import Syn2RealVectorEnv


@pytest.fixture
def config(tiny: str) -> EnvConfig:
    return EnvConfig(pairs=(tiny,), budget=30, window=10, batch_size=8, device="cpu")


def test_the_grid_search_finds_the_best_candidate_by_v(config: EnvConfig) -> None:
    constant, schedule, table = tune_uniform(config, "tiny", 24, seed=0)
    assert len(table) == 12  # 4 rates x 3 shapes, 2 episodes each
    assert set(table["n_seeds"]) == {2}
    assert table["v_end"].is_monotonic_decreasing
    assert (schedule.rate, schedule.shape) == (table["rate"][0], table["shape"][0])
    best = table[table["shape"] == "constant"].iloc[0]
    assert (constant.rate, constant.shape) == (best["rate"], "constant")


def test_the_values_of_the_grid_are_those_of_evaluation(config: EnvConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    constant, _, table = tune_uniform(config, "tiny", 24, seed=0)
    monkeypatch.setattr(
        "l2o_env.evaluation.evaluate.episode_seeds", lambda seed, stream, n: _seeds(seed, "tune_uniform", n)
    )
    found = evaluate({"constant": constant}, ["tiny"], 2, config, seed=0)["v_end"].mean()
    expected = table[table["shape"] == "constant"]["v_end"].max()
    assert found == pytest.approx(expected, rel=1e-4)


def _seeds(*arguments: Any) -> list[int]:
    from l2o_env.evaluation.rollout import episode_seeds

    return episode_seeds(*arguments)


def test_the_search_per_layer_beats_its_start(config: EnvConfig) -> None:
    tuned = tune_per_layer(config, "tiny", 16 * 6, seed=0, search=CrossEntropyConfig(min_generations=6))
    start = PerLayer("start", (0.01,) * 3)
    frame = evaluate({"tuned": tuned, "start": start}, ["tiny"], 8, config)
    values = frame.groupby("policy")["v_end"].mean()
    assert values["tuned"] > values["start"] + 0.05
    assert all(config.lr_min <= rate <= config.lr_max for rate in tuned.rates)


def test_tuning_follows_its_seed(config: EnvConfig) -> None:
    first, again, other = (tune_per_layer(config, "tiny", 16, seed=seed).rates for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_tuning_keeps_to_its_budget_and_reads_no_target(config: EnvConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = 0
    start = Syn2RealVectorEnv._start

    def count(self: Syn2RealVectorEnv, fresh: np.ndarray) -> None:
        nonlocal episodes
        episodes += int(fresh.sum())
        start(self, fresh)

    monkeypatch.setattr(Syn2RealVectorEnv, "_start", count)
    monkeypatch.setattr(Syn2RealVectorEnv, "evaluate", None)
    tune_uniform(config, "tiny", 32, seed=0)
    assert episodes <= 32
    episodes = 0
    tune_per_layer(config, "tiny", 20, seed=0)
    assert episodes <= 20


def test_too_small_a_budget_is_refused(config: EnvConfig) -> None:
    with pytest.raises(ConfigError, match="expected at least 12"):
        tune_uniform(config, "tiny", 11, seed=0)
    with pytest.raises(ConfigError, match="too few for a search"):
        tune_per_layer(config, "tiny", 1, seed=0)
