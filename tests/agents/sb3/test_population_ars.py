"""Augmented random search: its candidates run side by side."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from stable_baselines3.common.vec_env import VecNormalize

from agents.algorithms.sb3_config import ARSConfig
from agents.sb3 import PopulationVecEnv, SB3Agent
from agents.sb3.build import build
from agents.sb3.population_ars import PopulationARS
from l2o_env.errors import ConfigError
from tests.agents.sb3.small import MakeVec, small_config


def test_candidates_of_ars_run_side_by_side(make_vec: MakeVec) -> None:
    venv = make_vec(4, common_random_numbers=True)
    venv.reset(seed=5)
    env = VecNormalize(PopulationVecEnv(venv), training=False, norm_reward=False)
    model: Any = build("ars", small_config("ars"), env, 3)
    assert isinstance(model, PopulationARS) and model.n_delta == 2
    weights = torch.randn(4, model.n_params, generator=torch.Generator().manual_seed(0)) * 0.1
    env.seed(7)
    _, callback = model._setup_learn(1, None)
    env.seed(7)
    returns = model.evaluate_candidates(weights, callback, None)
    for i in range(4):
        torch.nn.utils.vector_to_parameters(weights[i], model.policy.parameters())
        env.seed(7)
        observations, total = env.reset(), 0.0
        for _ in range(3):
            observations, rewards, _, _ = env.step(model.policy.predict(observations, deterministic=True)[0])
            total += rewards[0]  # common random numbers: all optimizees run the same episode
        assert returns[i].item() == pytest.approx(total, abs=1e-4)
    assert returns.std() > 0


def test_candidates_that_training_had_no_time_for_change_nothing(make_vec: MakeVec) -> None:
    venv = make_vec(4, common_random_numbers=True)
    venv.reset(seed=5)
    config = ARSConfig(n_delta=4, zero_policy=False)  # eight candidates in four optimizees, and time for the first four
    agent = SB3Agent(venv.config, algorithm="ars", config=config, n_layers=3)
    before = torch.nn.utils.parameters_to_vector(agent.policy.parameters()).clone()
    agent.learn(venv, 4)
    assert torch.equal(torch.nn.utils.parameters_to_vector(agent.policy.parameters()), before)
    agent.learn(venv, 8)
    assert not torch.equal(torch.nn.utils.parameters_to_vector(agent.policy.parameters()), before)


def test_candidates_that_optimizees_cannot_share(make_vec: MakeVec) -> None:
    venv = make_vec(4)
    with pytest.raises(ConfigError, match="n_delta 1 directions in both senses, and 3 optimizees cannot share them"):
        SB3Agent(venv.config, algorithm="ars", n_layers=3).learn(make_vec(3), 3)
