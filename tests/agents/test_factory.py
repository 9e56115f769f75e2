"""Reading any agent: from a run folder, from a folder of its own, and what is said where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import agents
from agents.opponents import PerLayer, Schedule
from agents.reinforce.agent import Reinforce
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.observation import N_FEATURES

CONFIG = EnvConfig(pairs=("tiny",))
OBSERVATIONS = np.random.default_rng(0).normal(size=(2, 3 * N_FEATURES)).astype(np.float32)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with two policies that differ."""
    Reinforce(CONFIG, seed=1).save(tmp_path / "policy")
    Reinforce(CONFIG, seed=2).save(tmp_path / "policy-best")
    (tmp_path / "config.json").write_text(json.dumps({"trained_on": ["a", "b"], "environment": {"pairs": ["a"]}}))
    return tmp_path


def test_a_run_folder_and_its_policy_folder_give_the_same_agent(run: Path) -> None:
    for seed, agent in ((1, agents.load(run)), (1, agents.load(run / "policy")), (2, agents.load(str(run), "best"))):
        expected, _ = Reinforce(CONFIG, seed=seed).act(OBSERVATIONS, None, True)
        np.testing.assert_array_equal(agent.act(OBSERVATIONS, None, True)[0], expected)


def test_schedules_are_agents_too(tmp_path: Path) -> None:
    for agent in (Schedule("s", 0.1), PerLayer("p", (0.1, 0.2, 0.3))):
        agent.save(tmp_path / agent.name)
        assert agents.load(tmp_path / agent.name) == agent


def test_the_pairs_of_training(run: Path, tmp_path: Path) -> None:
    assert agents.trained_on(run) == agents.trained_on(run / "policy") == ("a", "b")
    (run / "config.json").write_text(json.dumps({"environment": {"pairs": ["a"]}}))
    assert agents.trained_on(run) == ("a",)
    (run / "config.json").unlink()
    assert agents.trained_on(run / "policy") == ()
    (run / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json is damaged"):
        agents.trained_on(run)


def test_folders_without_a_policy(tmp_path: Path, run: Path) -> None:
    with pytest.raises(ConfigError, match="There is no folder"):
        agents.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"holds no policy: there is neither policy/policy\.json .* before its first"):
        agents.load(tmp_path / "empty")
    for file in (run / "policy-best").iterdir():
        file.unlink()
    with pytest.raises(ConfigError, match="It has the selection 'last'"):
        agents.load(run, "best")
    with pytest.raises(ConfigError, match=r"Unknown selection 'bets'\. Did you mean 'best'"):
        agents.load(run, "bets")  # type: ignore[arg-type]


def test_files_that_are_no_policy(run: Path) -> None:
    (run / "policy" / "policy.json").write_text(json.dumps({"agent": "reinforced"}))
    with pytest.raises(ConfigError, match=r"Unknown kind of policy 'reinforced'\. Did you mean 'reinforce'"):
        agents.load(run)
    for text in ("no json", "[1]"):
        (run / "policy" / "policy.json").write_text(text)
        with pytest.raises(ConfigError, match=r"policy\.json is damaged"):
            agents.load(run)
