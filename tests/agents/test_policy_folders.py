"""Where policies are: the folders of a run, what it says of them, and what is said where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import agents
from agents.opponents import Schedule
from agents.policy_folders import policy_folder
from agents.reinforce import Reinforce
from l2o_env import pairs
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.training.policies import POLICIES

CONFIG = EnvConfig(pairs=("tiny",))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with two policies that differ."""
    Reinforce(CONFIG, seed=1).save(tmp_path / "policy")
    Reinforce(CONFIG, seed=2).save(tmp_path / "policy-best")
    (tmp_path / "config.json").write_text(json.dumps({"trained_on": ["a", "b"], "environment": {"pairs": ["a"]}}))
    return tmp_path


def test_the_folder_of_a_selection(run: Path, tmp_path: Path) -> None:
    assert policy_folder(run) == policy_folder(run / "policy") == policy_folder(str(run / "policy"), "best")
    assert policy_folder(run) == run / "policy" and policy_folder(run, "best") == run / "policy-best"
    Schedule("s", 0.1).save(tmp_path / "schedule")
    assert policy_folder(tmp_path / "schedule") == tmp_path / "schedule"
    assert policy_folder("default") == POLICIES / "transfer"
    with pytest.raises(ConfigError, match="comes along: default, proxy_guided, relative, transfer"):
        policy_folder("defualt")
    assert agents.trained_on("default") == pairs.names("train")


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
    with pytest.raises(ConfigError, match=r"It has the selection 'last': name .*policy\."):
        agents.load(run, "best")
    with pytest.raises(ConfigError, match=r"Unknown selection 'bets'\. Did you mean 'best'"):
        agents.load(run, "bets")  # type: ignore[arg-type]
