"""Building algorithms and policies alone from our settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise

from agents.algorithms import SB3Config, configure
from agents.sb3 import PopulationVecEnv
from agents.sb3.build import build, new_policy
from agents.sb3.randomness import OwnRandomness
from l2o_env.config import EnvConfig
from tests.agents.sb3.small import MakeVec


def _built(make_vec: MakeVec, algorithm: str, n_steps: int = 20, **changes: Any) -> Any:
    config = configure(algorithm, changes)
    assert isinstance(config, SB3Config)
    return build(algorithm, config, PopulationVecEnv(make_vec(4)), n_steps)


def test_rollouts_are_whole_episodes_and_minibatches_a_quarter_of_them(make_vec: MakeVec) -> None:
    model = _built(make_vec, "ppo")
    assert (model.n_steps, model.batch_size) == (20, 20)
    model = _built(make_vec, "ppo", n_steps=7)
    assert (model.n_steps, model.batch_size) == (7, 7)  # the largest divisor of 28 up to a quarter
    model = _built(make_vec, "ppo", n_steps=6, batch_size=12)
    assert (model.n_steps, model.batch_size) == (6, 12)


def test_the_learning_rate_falls_linearly(make_vec: MakeVec) -> None:
    schedule = _built(make_vec, "ppo", learning_rate=0.2, final_learning_rate=0.1).lr_schedule
    np.testing.assert_allclose([schedule(1.0), schedule(0.5), schedule(0.0)], [0.2, 0.11, 0.02])


def test_noise_has_the_stated_spread_and_correlation(make_vec: MakeVec) -> None:
    noise = _built(make_vec, "td3", noise_std=0.3, noise_correlation=0.8).action_noise
    assert isinstance(noise, OrnsteinUhlenbeckActionNoise)
    with OwnRandomness(0)():  # SB3 draws from the global generator
        draws = np.array([noise() for _ in range(20_000)])[100:]
    assert draws.std() == pytest.approx(0.3, rel=0.05)
    assert np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1] == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [
        ("ppo", {"n_steps": 1, "batch_size": 3}),
        ("trpo", {"n_steps": 1}),
        ("ars", {"n_delta": 3, "n_top": 2}),
        ("sac", {"buffer_size": 9}),
    ],
)
def test_a_policy_alone_does_not_mind_what_is_collected_in_training(algorithm: str, changes: dict[str, Any]) -> None:
    weights = []
    for config in (configure(algorithm), configure(algorithm, changes)):
        assert isinstance(config, SB3Config)
        with OwnRandomness(0)():
            weights.append(new_policy(algorithm, config, EnvConfig(pairs=("tiny",)), 3).state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
