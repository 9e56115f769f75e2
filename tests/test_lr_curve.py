"""How a rate goes up and down by itself."""

from __future__ import annotations

import numpy as np
import pytest

from l2o_env.lr_curve import warmed_up, warmup_poly


def test_warm_up_and_polynomial_decay_by_hand() -> None:
    found = warmup_poly(np.array([0, 50, 100, 500, 900]), 1000, 100)
    expected = [0.01, (0.01 + 0.99 / 4) * 0.95**0.9, 0.9**0.9, 0.5**0.9, 0.2**0.9]
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(warmup_poly(np.array([0]), 1000, 0), [1.0])


def test_warm_up_rises_to_one_and_stays_there() -> None:
    np.testing.assert_array_equal(warmed_up(np.array([0, 25, 100, 300]), 100), [0.0, 0.25, 1.0, 1.0])
    np.testing.assert_array_equal(warmed_up(np.array([0, 5]), 0), [1.0, 1.0])


@pytest.mark.parametrize(("budget", "warmup"), [(300, 100), (7, 3), (1000, 0)])
def test_the_curve_of_updates_is_the_published_formula_bit_for_bit(budget: int, warmup: int) -> None:
    updates = np.arange(budget + 1)
    ramp = np.minimum(updates / warmup, 1.0) if warmup > 0 else np.ones(np.shape(updates))
    expected = (0.01 + 0.99 * ramp**2) * (1 - np.minimum(updates / budget, 0.8)) ** 0.9
    np.testing.assert_array_equal(warmup_poly(updates, budget, warmup), expected)
