"""Schedules: rates of layers times a shape over time, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from agents.opponents import PerLayer, Schedule, shapes
from l2o_env.errors import ConfigError
from tests.agents.opponents.observed import observations, rates


def test_a_shape_is_read_at_the_middle_of_the_coming_window() -> None:
    agent = Schedule("s", 0.1, "uniform", "warmup_cosine", window_share=0.1)
    expected = 0.1 * shapes.warmup_cosine(np.array([0.05, 0.55]), shapes.WARMUP)
    np.testing.assert_allclose(rates(agent, [0.0, 0.5]), np.repeat(expected[:, None], 3, axis=1))


def test_rates_per_layer_are_the_given_ones() -> None:
    agent = PerLayer("p", (0.001, 0.01, 0.1))
    np.testing.assert_allclose(rates(agent, [0.3]), [[0.001, 0.01, 0.1]])


def test_predict_takes_one_observation_or_a_batch() -> None:
    agent = Schedule("s", 0.2)
    batch, _ = agent.predict(observations([0.0, 0.5]))
    single, _ = agent.predict(observations([0.0])[0])
    np.testing.assert_array_equal(batch, np.full((2, 3), 0.2))
    np.testing.assert_array_equal(single, np.full(3, 0.2))


def test_rates_per_layer_need_as_many_layers() -> None:
    agent = PerLayer("p", (0.001, 0.01))
    agent.check_layers(2)
    for call in (lambda: agent.check_layers(3), lambda: rates(agent, [0.0], 3)):
        with pytest.raises(ConfigError, match="'p' has rates for 2 layer groups; the network has 3"):
            call()


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="rate"):
        Schedule("s", -0.1)
    with pytest.raises(ConfigError, match="Unknown"):
        Schedule("s", 0.1, "uniform", "warmup_cosin")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"Unknown profile 'unifrom'\. Did you mean 'uniform'"):
        Schedule("s", 0.1, "unifrom")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"warmup is 2; expected a share of the budget from 0 to 1\."):
        Schedule("s", 0.1, warmup=2)
    for wrong in ((), (0.1, np.nan)):
        with pytest.raises(ConfigError, match=r"rates is .*; expected finite numbers >= 0"):
            PerLayer("p", wrong)
