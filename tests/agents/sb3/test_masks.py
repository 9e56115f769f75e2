"""Which factors may follow the current ones."""

from __future__ import annotations

import numpy as np

from agents.sb3.masks import factor_masks, observed_rates
from l2o_env.observation import N_FEATURES
from tests.agents.sb3.small import MakeVec, agent_and_venv


def test_masks_allow_factors_near_the_current_ones() -> None:
    mask = factor_masks(np.array([[0.02, 0.01, 0.0]]), 0.02, 2).reshape(3, 11)
    assert [np.flatnonzero(row).tolist() for row in mask] == [[8, 9, 10], [3, 4, 5, 6, 7], [0, 1, 2]]


def test_an_agent_reads_the_rates_from_the_observation_alone(make_vec: MakeVec) -> None:
    venv = make_vec(2, action="discrete")
    venv.reset(seed=0)
    observations, _, _, _, info = venv.step(np.array([[8, 9, 10], [0, 1, 5]]))
    rates = observed_rates(observations)
    assert rates.shape == (2, observations.shape[1] // N_FEATURES)
    np.testing.assert_allclose(rates, np.maximum(info["lr"], 1e-6), rtol=1e-5)
    expected = factor_masks(np.array([[0.016, 0.018, 0.02], [0.0, 0.002, 0.01]]), 0.02, 2)
    np.testing.assert_array_equal(factor_masks(rates, 0.02, 2), expected)


def test_masked_actions_stay_near_the_current_rates(make_vec: MakeVec) -> None:
    agent, venv = agent_and_venv("maskable_ppo", make_vec)
    observations, info = venv.reset(seed=1)
    for _ in range(3):
        actions, _ = agent.act(observations, None, deterministic=False)
        tenths = np.rint(info["lr"] / venv.config.base_lr * 10)
        assert (np.abs(actions - tenths) <= 3).all()
        observations, _, _, _, info = venv.step(actions)
