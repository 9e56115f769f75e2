"""The grid search finds what is best by V, within its budget."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from agents.opponents import tune_uniform
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.rollout import episode_seeds, run_episodes
from l2o_env.vector_env import Syn2RealVectorEnv


def test_the_grid_search_finds_the_best_candidate_by_v(config: EnvConfig) -> None:
    constant, schedule, table = tune_uniform(config, "tiny", 24, seed=0)
    assert len(table) == 12  # 4 rates x 3 shapes, 2 episodes each
    assert set(table["n_seeds"]) == {2}
    assert table["v_end"].is_monotonic_decreasing
    assert (schedule.rate, schedule.shape) == (table["rate"][0], table["shape"][0])
    best = table[table["shape"] == "constant"].iloc[0]
    assert (constant.rate, constant.shape) == (best["rate"], "constant")


def test_the_values_of_the_grid_are_those_of_episodes(config: EnvConfig) -> None:
    constant, _, table = tune_uniform(config, "tiny", 24, seed=0)
    venv = Syn2RealVectorEnv(2, **asdict(config))
    outcome = run_episodes(venv, constant, seeds=episode_seeds(0, "tune_uniform", 2))
    expected = table[table["shape"] == "constant"]["v_end"].max()
    assert outcome.v_end.mean() == pytest.approx(expected, rel=1e-4)


def test_it_keeps_to_its_budget_and_reads_no_target(config: EnvConfig, episodes_run: list[int]) -> None:
    tune_uniform(config, "tiny", 32, seed=0)
    assert 24 <= sum(episodes_run) <= 32


def test_too_small_a_budget_is_refused(config: EnvConfig) -> None:
    with pytest.raises(ConfigError, match="expected at least 12"):
        tune_uniform(config, "tiny", 11, seed=0)
