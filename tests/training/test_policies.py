"""Policies by name, by folder, and as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import agents
from agents.reinforce import Reinforce
from l2o_env import ConfigError, EnvConfig, pairs
from l2o_env.action import decode
from l2o_env.observation import N_FEATURES
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


def test_the_default_is_one_of_them() -> None:
    assert policies.shipped("default") == policies.shipped("transfer") == policies.POLICIES / "transfer"


@pytest.mark.parametrize("name", ["transfer", "proxy_guided"])
def test_policies_that_come_along_fit_networks_of_any_depth(name: str) -> None:
    found = policies.find_policy(name)
    folder = policies.shipped(name)
    assert folder is not None and sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    assert agents.trained_on(folder) == pairs.names("train")
    config = EnvConfig()
    found.check_env(config)
    for n_layers in (3, 11):
        found.check_layers(n_layers)
        observations = np.zeros((2, n_layers * N_FEATURES), np.float32)
        actions, _ = found.act(observations, None, deterministic=True)
        rates = decode(actions, np.full((2, n_layers), config.base_lr), config)
        assert ((rates > config.lr_min) & (rates < config.lr_max)).all()


def test_the_policy_for_any_optimizer_comes_along_too() -> None:
    found = policies.find_policy("relative")
    for optimizer in ("adamw", "sgd", "lion"):
        config = EnvConfig(action="relative_update", optimizer=optimizer)
        found.check_env(config)
        observations = np.zeros((1, 5 * N_FEATURES), np.float32)
        actions, _ = found.act(observations, None, deterministic=True)
        moved = np.full((1, 5), 0.01)
        rates = decode(actions, np.full((1, 5), config.base_lr), config, moved)
        assert ((rates >= config.lr_min) & (rates <= config.lr_max)).all()
    with pytest.raises(ConfigError, match="was trained with"):
        found.check_env(EnvConfig())
