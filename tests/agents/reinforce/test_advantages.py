"""Advantages, against numbers computed by hand and by brute force."""

from __future__ import annotations

import numpy as np
import torch

from agents.algorithms.reinforce_config import PRESETS, ReinforceConfig
from agents.reinforce.advantages import advantages_of, unpredicted
from l2o_env.models.base import new_generator

PLAIN = ReinforceConfig(gamma=1.0, baseline="leave_one_out", normalize_advantage=False)


def test_they_are_returns_to_go_against_the_others() -> None:
    config = ReinforceConfig(gamma=0.5, baseline="leave_one_out", normalize_advantage=False)
    rewards = torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 2.0]])
    returns = torch.tensor([[3.0, 2.0, 4.0], [4.0, 0.0, 2.0]])
    expected = returns - torch.stack([(returns.sum(1) - returns[:, i]) / 2 for i in range(3)], dim=1)
    torch.testing.assert_close(advantages_of(rewards, torch.ones(2, 3, dtype=torch.bool), config), expected)


def test_optimizees_whose_episode_has_ended_are_left_out() -> None:
    rewards = torch.tensor([[1.0, 2.0, -5.0], [3.0, 1.0, 0.0]])
    alive = torch.tensor([[True, True, True], [True, True, False]])
    found = advantages_of(rewards, alive, PLAIN)
    torch.testing.assert_close(found[1], torch.tensor([2.0, -2.0, 0.0]))
    torch.testing.assert_close(found[0], torch.tensor([4.0 + 1.0, 3.0 + 0.5, -5.0 - 3.5]))


def test_a_lone_survivor_teaches_nothing() -> None:
    found = advantages_of(torch.tensor([[1.0, 2.0]]), torch.tensor([[True, False]]), PLAIN)
    assert found.tolist() == [[0.0, 0.0]]


def test_without_a_baseline_they_are_returns() -> None:
    rewards = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    torch.testing.assert_close(advantages_of(rewards, torch.ones(2, 2, dtype=torch.bool), PRESETS["asg"]), rewards)


def test_the_fitted_baseline_is_a_line_through_the_others() -> None:
    generator = new_generator(0)
    x, y = (torch.randn(6, generator=generator, dtype=torch.float64) for _ in range(2))
    alive = torch.tensor([True, True, True, False, True, True])
    found = unpredicted(y, x, alive)
    for i in range(6):
        others = [j for j in range(6) if alive[j] and j != i]
        slope, intercept = np.polyfit(x[others], y[others], 1)
        expected = float(y[i]) - (slope * float(x[i]) + intercept) if alive[i] else 0.0
        assert abs(float(found[i]) - expected) < 1e-9


def test_the_fitted_baseline_explains_gains_that_are_lost_again() -> None:
    # What is gained in the first step is lost in the second: no action of the second step is to blame.
    first = torch.tensor([0.0, 1.0, 2.0, 4.0])
    rewards = torch.stack([first, 1.0 - first])
    alive = torch.ones(2, 4, dtype=torch.bool)
    fitted = ReinforceConfig(gamma=1.0, normalize_advantage=False)
    torch.testing.assert_close(advantages_of(rewards, alive, fitted), torch.zeros(2, 4), atol=1e-6, rtol=0)
    assert advantages_of(rewards, alive, PLAIN)[1].abs().max() > 1


def test_normalised_advantages_have_unit_scale_and_are_clipped() -> None:
    rewards = torch.tensor([[0.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 100.0, 0.0, 0.0]])
    found = advantages_of(rewards, torch.ones(1, 12, dtype=torch.bool), ReinforceConfig(max_advantage=2.0))
    assert found.max() == 2.0
    small = advantages_of(rewards[:, :9], torch.ones(1, 9, dtype=torch.bool), ReinforceConfig())
    torch.testing.assert_close(small.square().mean().sqrt(), torch.tensor(1.0))
