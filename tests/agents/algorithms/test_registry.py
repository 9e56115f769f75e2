"""The algorithms by name, their settings, and the action forms that they take."""

from __future__ import annotations

import pytest

from agents.algorithms import ALGORITHMS, ReinforceConfig, configure, find
from agents.algorithms.sb3_config import PPOConfig, TRPOConfig
from l2o_env.errors import ConfigError


def test_settings_of_the_algorithms() -> None:
    assert configure("reinforce", {"gamma": "0.5"}) == ReinforceConfig(gamma=0.5)
    assert configure("ppo", {"clip_range": "0.1", "net_arch": [32]}) == PPOConfig(clip_range=0.1, net_arch=(32,))
    assert configure("trpo") == TRPOConfig()
    with pytest.raises(ConfigError, match=r"Unknown hyper-parameter of ppo 'n_epoch'\. Did you mean 'n_epochs'"):
        configure("ppo", {"n_epoch": 3})
    with pytest.raises(ConfigError, match=r"Unknown algorithm 'pppo'\. Did you mean 'ppo'"):
        configure("pppo")


def test_an_algorithm_and_an_action_form_that_do_not_fit() -> None:
    with pytest.raises(
        ConfigError,
        match=r"'sac' takes the forms log, relative, relative_update, .*; 'discrete' goes with reinforce, .*ppo",
    ):
        find("sac", "discrete")
    with pytest.raises(ConfigError, match=r"'dqn' takes the forms discrete; 'log' goes with reinforce, .*ars"):
        find("dqn", "log")
    for name, algorithm in ALGORITHMS.items():
        for form in algorithm.forms:
            assert find(name, form) is algorithm
