"""Whole episodes: who counts in which step, and what an episode comes to."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from agents.opponents import Schedule
from l2o_env.errors import ConfigError
from l2o_env.evaluation.rollout import Step, episode_seeds, reporter, run_episodes, seed_sequence
from l2o_env.observation import FEATURE_NAMES, split_layers
from l2o_env.vector_env import Syn2RealVectorEnv

SETTINGS: dict[str, Any] = {"budget": 9, "window": 4, "batch_size": 8, "device": "cpu"}


class _LastRowDiverges:
    """Rates 0.1; in the last row one that no network survives, from the second window on."""

    output: Literal["rates"] = "rates"

    def act(self, observations: np.ndarray, state: None, deterministic: bool) -> tuple[np.ndarray, None]:
        progress = split_layers(observations)[:, 0, FEATURE_NAMES.index("progress")]
        wild = (np.arange(len(progress)) == len(progress) - 1) & (progress > 0.4)
        return np.repeat(np.where(wild, 1e30, 0.1)[:, None], 3, axis=1), None


def test_an_outcome_is_what_the_steps_were(tiny: str) -> None:
    venv = Syn2RealVectorEnv(2, pairs=tiny, **SETTINGS)
    steps: list[Step] = []
    seeds = episode_seeds(3, "somewhere", 2)
    outcome = run_episodes(
        venv, Schedule("s", 0.1), seeds=seeds, splits=("target",), per_class=True, on_step=steps.append
    )
    assert [step.number for step in steps] == [0, 1, 2, 3]  # the reset, and windows of 4, 4 and 1 updates
    assert [step.ended.tolist() for step in steps] == [[False] * 2] * 3 + [[True] * 2]
    np.testing.assert_array_equal(outcome.v_start, steps[0].info["value"])
    np.testing.assert_array_equal(outcome.v_end, steps[3].info["value"])
    np.testing.assert_allclose(outcome.returns, sum(step.rewards for step in steps))
    assert outcome.updates.tolist() == [9, 9] and not outcome.diverged.any()
    assert outcome.class_accuracy is not None and list(outcome.accuracy) == ["target"]
    np.testing.assert_allclose(outcome.class_accuracy.mean(1), outcome.accuracy["target"])  # the classes are balanced
    observations, info = venv.reset(seed=seeds)
    np.testing.assert_array_equal(observations, steps[0].observations)
    np.testing.assert_array_equal(info["value"], outcome.v_start)


def test_who_has_diverged_counts_no_longer(tiny: str) -> None:
    venv = Syn2RealVectorEnv(3, pairs=tiny, **{**SETTINGS, "budget": 16})
    steps: list[Step] = []
    outcome = run_episodes(venv, _LastRowDiverges(), on_step=steps.append)
    assert outcome.diverged.tolist() == [False, False, True]
    assert [step.running.tolist() for step in steps] == [[True] * 3] * 4 + [[True, True, False]]
    assert [step.ended.tolist() for step in steps] == [[False] * 3] * 3 + [[False, False, True], [True, True, False]]
    for step in steps:
        masks = [value for key, value in step.info.items() if key.startswith("_")]
        assert masks and all((mask == step.running).all() for mask in masks)
    np.testing.assert_array_equal(outcome.v_end[2], steps[3].info["value"][2])


def test_actions_are_told_to_observers_only(tiny: str) -> None:
    class Described:
        output: Literal["action"] = "action"
        asked = 0

        def act(self, observations: np.ndarray, state: None, deterministic: bool) -> tuple[np.ndarray, None]:
            return np.full((len(observations), 3), 0.5), None

        def describe(self, observations: np.ndarray, state: None, actions: np.ndarray) -> dict[str, np.ndarray]:
            self.asked += 1
            return {"entropy": 2 * actions}

    venv, agent, steps = Syn2RealVectorEnv(2, pairs=tiny, **SETTINGS), Described(), []
    run_episodes(venv, agent)
    assert agent.asked == 0
    run_episodes(venv, agent, on_step=steps.append)
    assert agent.asked == 3
    assert "action" not in steps[0].info
    assert steps[1].info["action"].tolist() == [[0.5] * 3] * 2
    assert steps[1].info["entropy"].tolist() == [[1.0] * 3] * 2
    assert steps[1].info["_action"].tolist() == [True, True]


def test_a_rollout_needs_the_final_weights(tiny: str) -> None:
    venv = Syn2RealVectorEnv(2, pairs=tiny, autoreset_mode="SameStep", **SETTINGS)
    with pytest.raises(ConfigError, match="auto-reset"):
        run_episodes(venv, Schedule("slow", 0.003))


def test_streams_of_seeds_have_nothing_in_common_and_begin_alike() -> None:
    assert episode_seeds(0, "a", 3) == episode_seeds(0, "a", 5)[:3]
    assert set(episode_seeds(0, "a", 50)).isdisjoint({*episode_seeds(0, "b", 50), *episode_seeds(1, "a", 50)})
    assert episode_seeds(7, "a", 2) == seed_sequence(7, "a").generate_state(2).tolist()


def test_steps_are_reported_among_those_of_all() -> None:
    seen: list[tuple[int, int, str]] = []
    report = reporter(lambda *told: seen.append(told), 10, 30, "second of three")
    for step in (0, 4):
        report(step)
    assert seen == [(10, 30, "second of three"), (14, 30, "second of three")]
    reporter(None, 0, 1, "")(1)
