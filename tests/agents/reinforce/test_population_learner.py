"""Batches of episodes: what is learned from them, how it is averaged, what is told of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agents.algorithms import ReinforceConfig
from agents.reinforce import Reinforce
from l2o_env.config import EnvConfig
from l2o_env.vector_env import Syn2RealVectorEnv

CONFIG = EnvConfig(pairs=("tiny",), budget=12, window=3, batch_size=8, common_random_numbers=True)


@pytest.fixture
def venv(tiny: str) -> Syn2RealVectorEnv:
    venv = Syn2RealVectorEnv(8, pairs=tiny, budget=12, window=3, batch_size=8, common_random_numbers=True)
    venv.reset(seed=0)
    return venv


class _Bandit(Syn2RealVectorEnv):
    """Rewards actions for being close to 0.5, whatever the optimizees do."""

    def step(self, actions: Any) -> Any:
        observations, _, terminated, truncated, info = super().step(actions)
        return observations, -np.square(actions - 0.5).sum(-1), terminated, truncated, info


def test_learns_what_is_rewarded(tiny: str) -> None:
    venv = _Bandit(16, pairs=tiny, budget=4, window=1, batch_size=4, common_random_numbers=True)
    observations, _ = venv.reset(seed=0)
    agent = Reinforce(venv.config, seed=0)
    before = np.abs(agent.act(observations, None, deterministic=True)[0] - 0.5).mean()
    agent.learn(venv, 16 * 25)
    after = np.abs(agent.act(observations, None, deterministic=True)[0] - 0.5).mean()
    assert before > 0.4
    assert after < 0.12


def test_training_ends_with_the_mean_of_the_last_weights(venv: Syn2RealVectorEnv) -> None:
    agent, seen = Reinforce(CONFIG, config=ReinforceConfig(averaged_share=0.5), seed=1), []
    agent.learn(venv, 8 * 4, callback=lambda record: seen.append(agent.policy.heads.detach().clone()))
    torch.testing.assert_close(agent.policy.heads.detach(), (seen[2] + seen[3]) / 2)
    assert not torch.equal(seen[2], seen[3])


def test_without_averaging_training_ends_with_the_last_weights(venv: Syn2RealVectorEnv) -> None:
    agent, seen = Reinforce(CONFIG, config=ReinforceConfig(averaged_share=0.0), seed=1), []
    agent.learn(venv, 8 * 2, callback=lambda record: seen.append(agent.policy.heads.detach().clone()))
    assert torch.equal(agent.policy.heads.detach(), seen[-1])


def test_training_is_deterministic_and_reports_each_batch(venv: Syn2RealVectorEnv, tiny: str) -> None:
    def trained() -> tuple[Reinforce, list[dict[str, Any]]]:
        venv.reset(seed=3)
        records: list[dict[str, Any]] = []
        return Reinforce(CONFIG, seed=5).learn(venv, 24, pairs=[tiny], callback=records.append), records

    (a, records), (b, others) = trained(), trained()
    assert all(torch.equal(x, y) for x, y in zip(a.policy.parameters(), b.policy.parameters(), strict=True))
    assert [r["episode"] for r in records] == [8, 16, 24]
    assert [r["return_mean"] for r in records] == [r["return_mean"] for r in others]
    assert {r["pair"] for r in records} == {tiny}


def test_the_reported_return_is_the_improvement_of_v(venv: Syn2RealVectorEnv) -> None:
    records: list[dict[str, Any]] = []
    venv.reset(seed=3)
    start = venv.episodes.previous
    assert start is not None
    Reinforce(CONFIG, config=ReinforceConfig(noise_std=1e-6), seed=5).learn(venv, 8, callback=records.append)
    assert records[0]["return_std"] == pytest.approx(0, abs=1e-3)
    assert records[0]["diverged"] == 0


def test_an_update_every_so_many_steps(venv: Syn2RealVectorEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    monkeypatch.setattr(
        Reinforce, "update", lambda self, segment: lengths.append(len(segment.rewards)) or {"loss": len(lengths)}
    )
    records: list[dict[str, Any]] = []
    Reinforce(CONFIG, config=ReinforceConfig(n_steps=3)).learn(venv, 8, callback=records.append)
    assert lengths == [3, 1]  # of the four steps of an episode
    assert records[0]["loss"] == 1.5
    assert records[0]["time/total_timesteps"] == 8 * 4
