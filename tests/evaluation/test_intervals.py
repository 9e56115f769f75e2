"""Means over seeds with their intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from l2o_env.evaluation.intervals import mean_and_half_width, plus_minus, summarise


def test_intervals_are_students() -> None:
    mean, half = mean_and_half_width(np.array([1.0, 2.0, 3.0, 4.0]))
    assert mean == 2.5
    assert half == pytest.approx(3.1824463 * 1.2909944 / 2, rel=1e-6)
    np.testing.assert_equal(mean_and_half_width(np.array([1.0])), (1.0, np.nan))


def test_a_summary_has_students_intervals() -> None:
    values = np.array([1.0, 2.0, 4.0])
    columns = dict.fromkeys(("v_end", "v_return", "real_accuracy", "proxy_accuracy"), values)
    frame = pd.DataFrame({"policy": "p", "pair": "q", "diverged": [False, True, False], **columns})
    row = summarise(frame).iloc[0]
    deviation = math.sqrt(((values - 7 / 3) ** 2).sum() / 2)
    assert row["v_end"] == pytest.approx(7 / 3)
    assert row["v_end_ci"] == pytest.approx(4.302653 * deviation / math.sqrt(3), rel=1e-6)
    assert (row["diverged"], row["n_seeds"]) == (1, 3)
    assert plus_minus(row["v_end"], row["v_end_ci"]) == "2.333 ± 3.795"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((0.12345, 0.0678), "0.123 ± 0.068"),
        ((0.5, np.nan), "0.500"),  # one seed
        ((np.nan, np.nan), "-"),  # not measured
        ((-0.0001, 0.1), "0.000 ± 0.100"),  # there is no negative zero
        ((41.26, 1.04, 1), "41.3 ± 1.0"),
    ],
)
def test_means_as_text(given: tuple[Any, ...], expected: str) -> None:
    assert plus_minus(*given) == expected


def test_signs_are_shown_if_wanted() -> None:
    assert [plus_minus(mean, 0.1, 1, sign="+") for mean in (2.0, -2.0, -0.01)] == [
        "+2.0 ± 0.1", "-2.0 ± 0.1", "+0.0 ± 0.1"
    ]  # fmt: skip
