"""Candidates in the rows of a population, and how a search runs them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agents.opponents import FixedRates, Schedule
from agents.opponents.candidates import RowByRow, Trials
from l2o_env.config import EnvConfig, RewardName
from tests.agents.opponents.observed import observations, rates


def test_each_row_has_an_agent_of_its_own() -> None:
    agents = [Schedule("a", 0.1), Schedule("b", 0.2, "head_only")]
    np.testing.assert_allclose(rates(RowByRow(agents), [0.0, 0.5]), [[0.1, 0.1, 0.1], [0, 0, 0.2]])


def test_fixed_rates_are_set_whatever_is_observed() -> None:
    given = np.array([[0.1, 0.2, 0.3]])
    assert FixedRates(given).act(observations([0.7]), None, True)[0] is given


@pytest.mark.parametrize(
    ("reward", "judged"),
    [("transfer", "transfer"), ("proxy_guided", "proxy_guided"), ("target_oracle", "proxy_guided")],
)
def test_trials_are_judged_by_v_and_report_their_steps(config: EnvConfig, reward: RewardName, judged: str) -> None:
    config = replace(config, reward=reward)
    told: list[tuple[int, int, str]] = []
    trials = Trials(config, "tiny", 2, 2, lambda *step: told.append(step), "search")
    agent = FixedRates(np.full((2, 3), 0.01))
    first, again = trials.run(agent, [1, 2]), trials.run(agent, [1, 2])
    np.testing.assert_array_equal(first.v_end, again.v_end)
    assert trials.venv.config.reward == judged  # whatever else the policies are rewarded for
    assert sorted({done for done, _, _ in told}) == list(range(7))
    assert {(total, text) for _, total, text in told} == {(6, "search")}
