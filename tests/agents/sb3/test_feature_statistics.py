"""Statistics of the features: those of VecNormalize, shared by the layers, and frozen in evaluation."""

from __future__ import annotations

import numpy as np
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

from agents.sb3 import PopulationVecEnv
from agents.sb3.feature_statistics import FeatureStatistics
from l2o_env.evaluation.rollout import run_episodes
from l2o_env.observation import FEATURE_NAMES, N_FEATURES
from tests.agents.sb3.small import MakeVec, agent_and_venv, observations


def test_they_are_those_of_vecnormalize(make_vec: MakeVec) -> None:
    venv = make_vec(2)
    statistics = FeatureStatistics(3, shared=True)
    env = VecNormalize(PopulationVecEnv(venv), clip_obs=5.0)
    env.obs_rms = statistics  # type: ignore[assignment]
    normalised = env.reset()
    np.testing.assert_allclose(statistics.normalise(env.get_original_obs(), 5.0), normalised, atol=1e-5)  # type: ignore[arg-type]
    rows = env.get_original_obs().reshape(-1, N_FEATURES).astype(np.float64)  # type: ignore[union-attr]
    expected = RunningMeanStd(shape=(N_FEATURES,))
    fresh = FeatureStatistics(1, shared=True)
    expected.mean, expected.var, expected.count = fresh.mean, fresh.var, fresh.count
    expected.update(rows)
    np.testing.assert_allclose(statistics.mean.reshape(3, -1), np.tile(expected.mean, (3, 1)))
    np.testing.assert_allclose(statistics.var.reshape(3, -1), np.tile(expected.var, (3, 1)))
    assert statistics.count == 100 + 6
    depth = FEATURE_NAMES.index("depth")
    assert np.ptp(normalised.reshape(2, 3, -1)[0, :, depth]) > 0.5  # type: ignore[union-attr]  # layers stay apart


def test_evaluation_leaves_them_alone(make_vec: MakeVec) -> None:
    agent, population = agent_and_venv("ppo", make_vec)
    agent.learn(population, 4)
    before = agent.statistics.mean.copy(), agent.statistics.count
    run_episodes(population, agent, seeds=[1, 2, 3, 4])
    assert np.array_equal(agent.statistics.mean, before[0]) and agent.statistics.count == before[1] > 100


def test_statistics_of_one_number_of_layers_or_of_any() -> None:
    own, shared = FeatureStatistics(3, shared=False), FeatureStatistics(3, shared=True)
    for statistics in (own, shared):
        statistics.update(observations(50))
    rows = observations(50).astype(np.float64)
    weight = 50 / 150  # beside a hundred rows that stand for the declared bounds
    fresh = FeatureStatistics(3, shared=False).mean
    np.testing.assert_allclose(own.mean, (1 - weight) * fresh + weight * rows.mean(0))
    assert shared.normalise(observations(2, 5), 5.0).shape == (2, 5 * N_FEATURES)
