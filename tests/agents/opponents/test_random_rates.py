"""Random rates: their limits, their spread and their seed."""

from __future__ import annotations

import numpy as np
import pytest

from agents.opponents import RandomRates
from l2o_env.errors import ConfigError
from tests.agents.opponents.observed import rates


def test_random_rates_stay_within_their_limits_and_follow_their_seed() -> None:
    first, again, other = (rates(RandomRates("r", 1e-4, 0.3, seed), [0.0] * 200) for seed in (0, 0, 1))
    assert first.min() >= 1e-4
    assert first.max() <= 0.3
    assert abs(np.log10(first).mean() - (np.log10(1e-4) + np.log10(0.3)) / 2) < 0.15
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_limits_that_cannot_work() -> None:
    with pytest.raises(ConfigError, match="expected 0 < lr_min < lr_max"):
        RandomRates("r", 0.3, 1e-4)
