"""Mean and 95 % confidence interval over seeds (Student's t): of values, of an evaluation's table, and as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from l2o_env.results.decimals import decimal

if TYPE_CHECKING:
    import pandas as pd


SUMMARISED = ("v_end", "v_return", "real_accuracy", "proxy_accuracy")
"""Columns of which :func:`summarise` gives mean and interval."""


def mean_and_half_width(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean of the values ``(n,)``, and half the width of its 95 % interval; NaN for a single value."""
    from scipy.stats import t

    n = len(values)
    half_width = t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return float(values.mean()), float(half_width)


def plus_minus(mean: float, half_width: float, digits: int = 3, *, sign: Literal["", "+"] = "") -> str:
    """A mean with its interval, or with another spread, as text.

    Args:
        mean: The mean; for NaN, which is what was not measured, the text is a dash.
        half_width: What stands behind the ±; NaN leaves it out.
        digits: Decimals.
        sign: ``"+"`` shows the sign of positive numbers too.
    """
    if np.isnan(mean):
        return "-"
    text = decimal(mean, digits, sign=sign)
    return text if np.isnan(half_width) else f"{text} ± {half_width:.{digits}f}"


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and 95 % confidence interval over seeds, of each policy on each pair.

    Args:
        frame: What :func:`l2o_env.evaluate` returned.

    Returns:
        Columns ``policy``, ``pair``, ``n_seeds``, each of ``SUMMARISED`` with the half-width of its Student t interval
        as ``<column>_ci`` (NaN for one seed), and ``diverged``, the number of runs that did. Policies and pairs keep
        the order of their first row.
    """
    import pandas as pd

    rows = []
    for (policy, pair), group in frame.groupby(["policy", "pair"], sort=False):
        row: dict[str, Any] = {"policy": policy, "pair": pair, "n_seeds": len(group)}
        for column in SUMMARISED:
            row[column], row[f"{column}_ci"] = mean_and_half_width(group[column].to_numpy(float))
        rows.append({**row, "diverged": int(group["diverged"].sum())})
    return pd.DataFrame(rows)
