"""Numbers as text."""

from __future__ import annotations

import numpy as np
import pytest

from l2o_env.results.decimals import counted, decimal


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.0004, "0.000"), (-0.0, "0.000"), (-0.0006, "-0.001"), (1.0005, "1.000"), (2.675, "2.675"),
     (np.float64(-1234.5678), "-1234.568"), (float("nan"), "nan"), (float("-inf"), "-inf")],
)  # fmt: skip
def test_digits_after_the_point_without_a_negative_zero(value: float, text: str) -> None:
    assert decimal(value, 3) == text


def test_rounding_is_that_of_format() -> None:
    drawn = np.random.default_rng(0).normal(scale=3, size=2000)
    assert [decimal(x, 2) for x in drawn] == [f"{x:.2f}".replace("-0.00", "0.00") for x in drawn]


def test_a_sign_where_it_is_wanted() -> None:
    assert [decimal(x, 1, sign="+") for x in (0.04, -0.04, 2.25, -2.35)] == ["+0.0", "+0.0", "+2.2", "-2.4"]


def test_things_are_counted() -> None:
    assert [counted(n, "pair") for n in (0, 1, 2000)] == ["0 pairs", "1 pair", "2,000 pairs"]
