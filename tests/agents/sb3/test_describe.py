"""What SB3's policies say of their actions: the same numbers as their own log-probabilities and entropies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.policies import ActorCriticPolicy

from agents.sb3.agent import SB3Agent
from l2o_env.action import N_FACTORS
from l2o_env.config import EnvConfig
from l2o_env.observation import N_FEATURES


def _agent(algorithm: str, action: Any = "log") -> SB3Agent:
    return SB3Agent(EnvConfig(pairs=("tiny",), budget=6, window=2, action=action), algorithm=algorithm, n_layers=3)


OBSERVATIONS = np.random.default_rng(0).normal(scale=0.3, size=(4, 3 * N_FEATURES)).astype(np.float32)


@pytest.mark.parametrize(("algorithm", "action"), [("ppo", "log"), ("a2c", "discrete"), ("trpo", "log")])
def test_layers_sum_to_what_the_policy_itself_says(algorithm: str, action: str) -> None:
    agent = _agent(algorithm, action)
    actions, _ = agent.act(OBSERVATIONS, None, deterministic=False)
    found = agent.describe(OBSERVATIONS, None, actions)
    assert isinstance(agent.policy, ActorCriticPolicy)
    seen = agent.statistics.normalise(OBSERVATIONS, agent.config.clip_observation)
    with torch.no_grad():
        _, log_prob, entropy = agent.policy.evaluate_actions(torch.as_tensor(seen), torch.as_tensor(actions))
    assert found["log_prob"].shape == (4, 3)
    np.testing.assert_allclose(found["log_prob"].sum(-1), log_prob, rtol=1e-4)
    assert entropy is not None
    np.testing.assert_allclose(found["entropy"].sum(-1), entropy, rtol=1e-4)


def test_a_recurrent_policy_remembers() -> None:
    agent = _agent("recurrent_ppo")
    actions, state = agent.act(OBSERVATIONS, None, deterministic=True)
    found = agent.describe(OBSERVATIONS, None, actions)
    std = agent.policy.state_dict()["log_std"].exp().mean().item()
    np.testing.assert_allclose(found["log_prob"], -np.log(std) - 0.5 * np.log(2 * np.pi), rtol=1e-3)  # at the mode
    later, _ = agent.act(OBSERVATIONS, state, deterministic=True)
    at_mode = agent.describe(OBSERVATIONS, state, later)["log_prob"]
    np.testing.assert_allclose(at_mode, found["log_prob"], rtol=1e-4)
    assert not np.allclose(later, actions, atol=1e-7)  # so the state counted in both


def test_masked_actions_are_no_choice() -> None:
    agent = _agent("maskable_ppo", "discrete")
    actions, _ = agent.act(OBSERVATIONS, None, deterministic=False)
    found = agent.describe(OBSERVATIONS, None, actions)
    assert (np.exp(found["log_prob"]) <= 1 + 1e-6).all()
    assert (found["entropy"] < np.log(N_FACTORS) - 0.1).all()


@pytest.mark.parametrize(("algorithm", "action"), [("sac", "log"), ("td3", "log"), ("dqn", "discrete"), ("ars", "log")])
def test_the_others_say_nothing(algorithm: str, action: str) -> None:
    agent = _agent(algorithm, action)
    assert agent.describe(OBSERVATIONS, None, agent.act(OBSERVATIONS, None, deterministic=True)[0]) == {}
