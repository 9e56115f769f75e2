"""Records of a training, and where it ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agents
from agents.sb3 import SB3Agent
from tests.agents.sb3.small import MakeVec, agent_and_venv, small_config
from tests.agents.sb3.small import observations as drawn


def test_training_ends_on_its_budget_in_the_middle_of_a_rollout(make_vec: MakeVec) -> None:
    venv = make_vec(4)
    venv.reset(seed=3)
    config = replace(small_config("ppo"), n_steps=2, batch_size=8)  # of three steps of an episode
    records: list[dict[str, Any]] = []
    agent = SB3Agent(venv.config, algorithm="ppo", config=config, n_layers=3).learn(venv, 4, callback=records.append)
    assert (agent.episodes, venv.episodes.updates_made, len(records)) == (4, 4 * venv.config.budget, 1)


def test_episodes_of_asgs_windows_are_counted_as_they_are(make_vec: MakeVec) -> None:
    venv = make_vec(4, budget=30, windows="asg")
    steps = venv.episodes.n_steps()
    assert steps != -(-30 // venv.config.window)  # those of fixed windows
    venv.reset(seed=3)
    records: list[dict[str, Any]] = []
    agent = SB3Agent(venv.config, algorithm="ppo", config=replace(small_config("ppo"), n_steps=steps), n_layers=3)
    agent.learn(venv, 8, callback=records.append)
    assert [record["episode"] for record in records] == [4, 8] and agent.episodes == 8
    assert [record["time/total_timesteps"] for record in records] == [4 * steps, 8 * steps]


def test_records_hold_the_returns_of_the_environment(make_vec: MakeVec) -> None:
    agent, venv = agent_and_venv("ppo", make_vec, n=2)
    seen: list[np.ndarray] = []
    step = venv.step
    venv.step = lambda actions: seen.append(step(actions)) or seen[-1]  # type: ignore[method-assign, assignment, func-returns-value]
    records: list[dict[str, Any]] = []
    agent.learn(venv, 4, callback=records.append)
    rewards = np.array([result[1] for result in seen]).reshape(2, 3, 2).sum(1)
    np.testing.assert_allclose([record["return_mean"] for record in records], rewards.mean(1), rtol=1e-5)
    np.testing.assert_allclose([record["return_std"] for record in records], rewards.std(1), rtol=1e-4)
    values = [seen[k][4]["value"].mean() for k in (2, 5)]
    np.testing.assert_allclose([record["value_mean"] for record in records], values, rtol=1e-5)
    assert {record["pair"] for record in records} == {"tiny"}


def test_ctrl_c_in_a_callback_leaves_the_policy_so_far(make_vec: MakeVec, tmp_path: Path) -> None:
    agent, venv = agent_and_venv("td3", make_vec)

    def interrupt(record: dict[str, Any]) -> None:
        if record["episode"] == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        agent.learn(venv, 16, callback=interrupt)
    assert agent.episodes == 8
    agent.save(tmp_path)
    np.testing.assert_array_equal(agents.load(tmp_path).act(drawn(), None, True)[0], agent.act(drawn(), None, True)[0])
