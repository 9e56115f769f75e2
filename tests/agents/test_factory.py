"""Making agents: new ones by the name of an algorithm, and saved ones, whatever made them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import agents
from agents.algorithms import ALGORITHMS, PRESETS, configure
from agents.asg import AsgAgent
from agents.base import Learner
from agents.opponents import PerLayer, Schedule
from agents.reinforce import Reinforce
from agents.sb3 import SB3Agent
from l2o_env.asg import ASG
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


@pytest.mark.parametrize(("name", "kind"), [("reinforce", Reinforce), ("asg", AsgAgent), ("ppo", SB3Agent)])
def test_a_learner_is_made_by_the_name_of_its_algorithm(name: str, kind: type[Learner]) -> None:
    env_config = EnvConfig(**{"pairs": ("tiny",), **(ASG if name == "asg" else {})})
    changed = configure(name, {"learning_rate": 0.123})
    for config, expected in ((None, ALGORITHMS[name].config), (changed, changed)):
        agent = agents.make_learner(name, env_config, config=config, n_layers=3)
        assert type(agent) is kind and agent.name == name
        assert agent.config == expected  # type: ignore[attr-defined]


def test_the_seed_decides_on_the_weights() -> None:
    first, again, other = (agents.make_learner("reinforce", CONFIG, n_layers=3, seed=seed) for seed in (5, 5, 6))
    expected = first.act(OBSERVATIONS, None, False)[0]
    np.testing.assert_array_equal(again.act(OBSERVATIONS, None, False)[0], expected)
    assert not np.array_equal(other.act(OBSERVATIONS, None, False)[0], expected)


def test_heads_per_layer_are_as_many_as_asked_for() -> None:
    agent = agents.make_learner("reinforce", CONFIG, config=PRESETS["asg"], n_layers=3)
    assert isinstance(agent, Reinforce) and agent.policy.n_heads == 3


def test_an_algorithm_and_an_action_form_that_do_not_go_together() -> None:
    with pytest.raises(ConfigError, match="'td3' takes the forms log, relative"):
        agents.make_learner("td3", EnvConfig(pairs=("tiny",), action="discrete"), n_layers=3)


def test_a_run_folder_and_its_policy_folder_give_the_same_agent(run: Path) -> None:
    for seed, agent in ((1, agents.load(run)), (1, agents.load(run / "policy")), (2, agents.load(str(run), "best"))):
        expected, _ = Reinforce(CONFIG, seed=seed).act(OBSERVATIONS, None, True)
        np.testing.assert_array_equal(agent.act(OBSERVATIONS, None, True)[0], expected)


def test_schedules_are_agents_too(tmp_path: Path) -> None:
    for agent in (Schedule("s", 0.1), PerLayer("p", (0.1, 0.2, 0.3))):
        agent.save(tmp_path / agent.name)
        assert agents.load(tmp_path / agent.name) == agent


def test_files_that_are_no_policy(run: Path) -> None:
    (run / "policy" / "policy.json").write_text(json.dumps({"agent": "reinforced"}))
    with pytest.raises(ConfigError, match=r"Unknown kind of policy 'reinforced'\. Did you mean 'reinforce'"):
        agents.load(run)
    for text in ("no json", "[1]"):
        (run / "policy" / "policy.json").write_text(text)
        with pytest.raises(ConfigError, match=r"policy\.json is damaged"):
            agents.load(run)
