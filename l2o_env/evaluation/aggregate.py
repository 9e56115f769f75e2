"""Aggregates over pairs and seeds with stratified bootstrap intervals (Agarwal et al., NeurIPS 2021).

The estimates are those of `rliable <https://github.com/google-research/rliable>`_, but the resampling does not draw
from NumPy's global generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l2o_env.errors import ConfigError
from l2o_env.results.decimals import decimal

Scores = NDArray[np.float64]
"""Scores ``(n_runs, n_pairs)``: resampled within each column."""
N_BOOTSTRAP = 2000
"""Resamples of an interval."""
LEVEL = 0.95
"""Share of the resamples that lie in an interval."""


class Estimate(NamedTuple):
    """A number, or one per threshold, and its 95 % interval."""

    value: NDArray[np.float64] | float
    low: NDArray[np.float64] | float
    high: NDArray[np.float64] | float

    def text(self, digits: int = 3, separator: str = " ") -> str:
        """A single number as ``value [low, high]``, with so many decimals."""
        value, low, high = (decimal(x, digits) for x in self)
        return f"{value}{separator}[{low}, {high}]"


def score_matrix(frame: pd.DataFrame, column: str, pairs: Sequence[str] | None = None) -> Scores:
    """Scores of one policy, ``(n_runs, n_pairs)``.

    A run is an evaluation seed; of a policy that was trained several times it is a training run, and its score the
    mean over the seeds.

    Args:
        frame: Rows of an evaluation with ``pair`` and ``run``; as many for each pair.
        column: What is scored.
        pairs: The pairs of the columns; None takes all, in the order of their first row.

    Raises:
        ConfigError: If pairs have different numbers of runs.
    """
    if frame["run"].nunique() > 1:
        frame = frame.groupby(["run", "pair"], sort=False)[column].mean().reset_index()
    by_pair = {str(pair): group[column].to_numpy(float) for pair, group in frame.groupby("pair", sort=False)}
    columns = list(by_pair.values()) if pairs is None else [by_pair[pair] for pair in pairs]
    if len({len(values) for values in columns}) != 1:
        raise ConfigError(f"Pairs have {sorted({len(v) for v in columns})} runs each; expected as many for each pair.")
    return np.stack(columns, axis=1)


def iqm(scores: Scores, seed: int = 0, n: int = N_BOOTSTRAP) -> Estimate:
    """Interquartile mean over runs and pairs: the mean of the middle half of all scores.

    Args:
        scores: ``(n_runs, n_pairs)``.
        seed: Seed of the resampling.
        n: Resamples.
    """
    from scipy.stats import trim_mean

    drawn = _resample(scores, np.random.default_rng(seed), n)
    return _estimate(trim_mean(scores, 0.25, axis=None), trim_mean(drawn.reshape(n, -1), 0.25, axis=1))


def mean(scores: Scores, seed: int = 0, n: int = N_BOOTSTRAP) -> Estimate:
    """Mean over runs and pairs; arguments as of :func:`iqm`."""
    return _estimate(scores.mean(), _resample(scores, np.random.default_rng(seed), n).mean((1, 2)))


def profile(scores: Scores, thresholds: NDArray[np.float64], seed: int = 0, n: int = N_BOOTSTRAP) -> Estimate:
    """Performance profile: the share of runs whose score is above each threshold ``(n_thresholds,)``."""
    drawn = _resample(scores, np.random.default_rng(seed), n).reshape(n, -1)
    drawn.sort(axis=1)
    shares = np.stack([1 - np.searchsorted(row, thresholds, side="right") / drawn.shape[1] for row in drawn])
    point = (scores.reshape(-1, 1) > thresholds).mean(0)
    return _estimate(point, shares)


def probability_of_improvement(x: Scores, y: Scores, seed: int = 0, n: int = N_BOOTSTRAP) -> Estimate:
    """Probability that a run of X scores above a run of Y on the same pair, averaged over pairs; ties count half.

    Args:
        x: Scores of X ``(n_runs_x, n_pairs)``.
        y: Scores of Y ``(n_runs_y, n_pairs)``.
        seed: Seed of the resampling.
        n: Resamples; X and Y are drawn apart.
    """
    rng = np.random.default_rng(seed)
    estimates, drawn = [], np.zeros(n)
    for xs, ys in zip(x.T, y.T, strict=True):
        above = (xs[:, None] > ys) + 0.5 * (xs[:, None] == ys)
        estimates.append(above.mean())
        rows = rng.multinomial(len(xs), np.full(len(xs), 1 / len(xs)), n)
        columns = rng.multinomial(len(ys), np.full(len(ys), 1 / len(ys)), n)
        drawn += np.einsum("bi,ij,bj->b", rows, above, columns, optimize=True) / above.size
    return _estimate(np.mean(estimates), drawn / x.shape[1])


def _resample(scores: Scores, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Draws runs anew within each pair, ``(n, n_runs, n_pairs)``."""
    rows = rng.integers(len(scores), size=(n, *scores.shape))
    return scores[rows, np.arange(scores.shape[1])]


def _estimate(value: NDArray[np.float64] | float, drawn: NDArray[np.float64]) -> Estimate:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Estimate(value, low, high)
