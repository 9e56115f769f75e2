"""Policies by name, by folder, and as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.reinforce import Reinforce
from l2o_env import ConfigError
from l2o_env.training import policies
from tests.training.loops import policy


def test_an_agent_is_itself() -> None:
    agent = policy()
    assert policies.find_policy(agent) is agent


def test_a_name_is_that_of_a_policy_that_comes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "POLICIES", tmp_path)
    policy().save(tmp_path / "mine")
    found = policies.find_policy("mine")
    assert isinstance(found, Reinforce)
    assert policies.shipped("mine") == tmp_path / "mine"
    assert policies.shipped("../mine") is None
    assert policies.shipped("") is None
    with pytest.raises(ConfigError, match="without the policy 'default'"):
        policies.find_policy("default")
