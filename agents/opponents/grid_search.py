"""Grid search: uniform rates, tuned on the very pair by V, as a learned policy is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.rollout import MAX_OPTIMIZEES, Progress, episode_seeds
from l2o_env.optimizers import RULES
from l2o_env.pairs import label

from .candidates import RowByRow, Trials
from .schedules import Schedule
from .shapes import ShapeName

GRID_RATES = 8
"""Rates of the grid, log-spaced."""
GRID_LIMITS = (0.15, 10.0)
"""Smallest and largest rate of the grid over the usual one of the optimizer, within the limits of the environment."""
GRID_SEEDS = 2
"""Fewest episodes of a candidate."""
GRID_SHAPES: tuple[ShapeName, ...] = ("constant", "warmup_poly", "warmup_cosine")
"""Shapes of the grid."""
MIN_EPISODES = 2 * GRID_SEEDS * len(GRID_SHAPES)
"""Fewest episodes of the search: two rates of each shape."""


def tune_uniform(
    config: EnvConfig, pair: str, episodes: int, seed: int, progress: Progress | None = None
) -> tuple[Schedule, Schedule, pd.DataFrame]:
    """The best uniform constant and the best uniform schedule, by a grid of rates x shapes.

    The episodes are divided evenly over the candidates, and all candidates get the same seeds. What is left over by
    the division is not used. A budget too small for two episodes of each candidate makes the grid of rates coarser.

    Args:
        config: Settings of the environment; ``pairs``, ``reward`` and ``common_random_numbers`` are not read.
        pair: The pair to tune on.
        episodes: Budget of episodes.
        seed: Seed of the episodes.
        progress: Called after each step.

    Returns:
        The best of the constant candidates, the best of all, and the candidates, best first: ``shape``, ``rate``,
        ``v_end`` (mean over seeds; minus infinity if one diverged), ``v_std``, ``n_seeds``, ``diverged``.

    Raises:
        ConfigError: If the budget is too small for two rates.
    """
    n_rates = min(GRID_RATES, episodes // (GRID_SEEDS * len(GRID_SHAPES)))
    if n_rates < 2:
        raise ConfigError(f"{episodes} episodes are too few for a grid search; expected at least {MIN_EPISODES}.")
    share = config.window / config.budget
    grid = [(shape, float(rate)) for shape in GRID_SHAPES for rate in _rates(config, n_rates)]
    candidates = [Schedule("candidate", rate, "uniform", shape, window_share=share) for shape, rate in grid]
    seeds = episode_seeds(seed, "tune_uniform", episodes // len(candidates))
    rows = [(candidate, s) for candidate in candidates for s in seeds]
    n = min(MAX_OPTIMIZEES, len(rows))
    populations = [rows[i : i + n] for i in range(0, len(rows), n)]
    trials = Trials(config, pair, n, len(populations), progress, f"grid search on {label(pair)}")
    values, diverged = [], []
    for population in populations:
        full = population + population[-1:] * (n - len(population))
        outcome = trials.run(RowByRow([candidate for candidate, _ in full]), [s for _, s in full])
        values.append(outcome.v_end[: len(population)])
        diverged.append(outcome.diverged[: len(population)])
    table = _ranked(grid, np.concatenate(values), np.concatenate(diverged))
    best_constant = table[table["shape"] == "constant"].iloc[0]
    return _named("best-constant", best_constant, share), _named("best-schedule", table.iloc[0], share), table


def _rates(config: EnvConfig, n: int) -> NDArray[np.float64]:
    usual = RULES[config.optimizer].defaults.base_lr
    low, high = max(GRID_LIMITS[0] * usual, config.lr_min), min(GRID_LIMITS[1] * usual, config.lr_max)
    return np.geomspace(low, high, n) if low < high else np.geomspace(config.lr_min, config.lr_max, n)


def _ranked(
    grid: list[tuple[ShapeName, float]], values: NDArray[np.float64], diverged: NDArray[np.bool_]
) -> pd.DataFrame:
    """The candidates, best first; values and divergence are ``(n_candidates * n_seeds,)``."""
    values, diverged = values.reshape(len(grid), -1), diverged.reshape(len(grid), -1)
    table = pd.DataFrame(
        {
            "shape": [shape for shape, _ in grid],
            "rate": [rate for _, rate in grid],
            "v_end": np.where(diverged.any(1), -np.inf, values.mean(1)),
            "v_std": np.where(diverged.any(1), np.nan, values.std(1, ddof=1)),
            "n_seeds": values.shape[1],
            "diverged": diverged.sum(1),
        }
    )
    # Stable, so that of equals (all diverged) the smallest rate of the first shape comes first.
    return table.sort_values("v_end", ascending=False, kind="stable", ignore_index=True)


def _named(name: str, row: pd.Series[Any], share: float) -> Schedule:
    return Schedule(name, float(row["rate"]), "uniform", row["shape"], window_share=share)
