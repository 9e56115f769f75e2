"""Factors over time, against numbers computed by hand, and ASG's in both of its places."""

from __future__ import annotations

import numpy as np
import pytest

from agents.opponents import shapes
from l2o_env import lr_curve


def test_warmup_poly_is_the_formula_of_asg() -> None:
    p = np.array([0.0, 0.05, 0.1, 0.5, 0.9, 1.0])
    expected = [0.01, (0.01 + 0.99 * 0.25) * 0.95**0.9, 0.9**0.9, 0.5**0.9, 0.2**0.9, 0.2**0.9]
    np.testing.assert_allclose(shapes.warmup_poly(p, 0.1), expected)


@pytest.mark.parametrize("warmup", [0.0, 0.1, 1 / 3])
def test_warmup_poly_is_that_of_the_inner_loop_bit_for_bit(warmup: float) -> None:
    progress = np.linspace(0, 1, 101)
    ramp = np.minimum(progress / warmup, 1.0) if warmup > 0 else np.ones_like(progress)
    expected = (0.01 + 0.99 * ramp**2) * (1 - np.minimum(progress, 0.8)) ** 0.9
    np.testing.assert_array_equal(shapes.warmup_poly(progress, warmup), expected)
    np.testing.assert_array_equal(lr_curve.warmup_poly(progress, 1.0, warmup), expected)


def test_warmup_cosine_rises_to_one_and_falls_to_zero() -> None:
    p = np.array([0.0, 0.05, 0.1, 0.55, 1.0])
    np.testing.assert_allclose(shapes.warmup_cosine(p, 0.1), [0, 0.5, 1, 0.5, 0], atol=1e-12)


def test_constant_is_one() -> None:
    np.testing.assert_array_equal(shapes.constant(np.array([0.0, 0.5, 1.0])), 1.0)
