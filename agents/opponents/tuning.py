"""The two tuned opponents: they get a budget of episodes and choose by V, as a learned policy does.

Both run only on what training may see: V on the held-out synthetic images, never the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.opponents.schedules import SHAPES, PerLayer, Schedule
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.rollout import (
    MAX_OPTIMIZEES,
    Outcome,
    Progress,
    episode_seeds,
    reporter,
    run_episodes,
    seed_sequence,
)
from l2o_env.pairs import label
from l2o_env.vector_env import Syn2RealVectorEnv

GRID_RATES = 8
"""Rates of the uniform grid, log-spaced."""
GRID_LIMITS = (0.003, 0.2)
"""Smallest and largest rate of the uniform grid, within the limits of the environment."""
GRID_SEEDS = 2
"""Fewest episodes of a candidate."""


@dataclass(frozen=True)
class CrossEntropyConfig:
    """Settings of the cross-entropy search over log10 rates."""

    population: int = 16
    """Candidates of a generation."""
    min_generations: int = 12
    """Small budgets of episodes make the generations smaller, so that there are at least so many."""
    min_population: int = 4
    """Fewest candidates of a generation; still smaller budgets make fewer generations."""
    elite_share: float = 0.25
    """Share of the candidates that the next generation is drawn around."""
    mean: float = -2.0
    """Mean of the first generation, the same for each layer."""
    std: float = 0.75
    """Standard deviation of the first generation."""
    smoothing: float = 0.7
    """Weight of a generation's elites against what was there before."""
    min_std: float = 0.1
    """Standard deviations stay above this."""


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
    n_rates = min(GRID_RATES, episodes // (GRID_SEEDS * len(SHAPES)))
    if n_rates < 2:
        needed = 2 * GRID_SEEDS * len(SHAPES)
        raise ConfigError(f"{episodes} episodes are too few for a grid search; expected at least {needed}.")
    share = config.window / config.budget
    grid = [(shape, float(rate)) for shape in SHAPES for rate in _grid(config, n_rates)]
    candidates = [Schedule("candidate", rate, "uniform", shape, window_share=share) for shape, rate in grid]
    n_seeds = episodes // len(candidates)
    seeds = episode_seeds(seed, "tune_uniform", n_seeds)
    rows = [(candidate, s) for candidate in candidates for s in seeds]
    venv = _population(config, pair, min(MAX_OPTIMIZEES, len(rows)))
    parts = [rows[i : i + venv.num_envs] for i in range(0, len(rows), venv.num_envs)]
    values, diverged = [], []
    for k, part in enumerate(parts):
        padded = part + part[-1:] * (venv.num_envs - len(part))
        agent = _Rows([candidate for candidate, _ in padded])
        found = _run(venv, agent, [s for _, s in padded], progress, k, len(parts), f"grid search on {label(pair)}")
        values.append(found.v_end[: len(part)])
        diverged.append(found.diverged[: len(part)])
    table = _candidates(grid, np.concatenate(values), np.concatenate(diverged))
    best_constant = table[table["shape"] == "constant"].iloc[0]
    return _named("best-constant", best_constant, share), _named("best-schedule", table.iloc[0], share), table


def _grid(config: EnvConfig, n: int) -> NDArray[np.float64]:
    low, high = max(GRID_LIMITS[0], config.lr_min), min(GRID_LIMITS[1], config.lr_max)
    return np.geomspace(low, high, n) if low < high else np.geomspace(config.lr_min, config.lr_max, n)


def _candidates(
    grid: list[tuple[Any, float]], values: NDArray[np.float64], diverged: NDArray[np.bool_]
) -> pd.DataFrame:
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


def _named(name: str, row: pd.Series, share: float) -> Schedule:
    return Schedule(name, float(row["rate"]), "uniform", row["shape"], window_share=share)


def tune_per_layer(
    config: EnvConfig,
    pair: str,
    episodes: int,
    seed: int,
    progress: Progress | None = None,
    search: CrossEntropyConfig | None = None,
) -> PerLayer:
    """The best constant rate of each layer group, by cross-entropy search (Rubinstein, 1999) on V.

    A Gaussian over log10 rates, independent per layer, is drawn towards the elites of each generation. All candidates
    of a generation run on one fresh seed, so that they differ by their rates alone; diverged ones rank last.

    Args:
        config: Settings of the environment; ``pairs``, ``reward`` and ``common_random_numbers`` are not read.
        pair: The pair to tune on.
        episodes: Budget of episodes; what is left over by whole generations is not used.
        seed: Seed of the candidates and of the episodes.
        progress: Called after each step.
        search: Settings of the search.

    Returns:
        The mean of the last Gaussian.

    Raises:
        ConfigError: If the budget is too small for one generation.
    """
    search = search or CrossEntropyConfig()
    size = min(search.population, max(search.min_population, episodes // search.min_generations))
    generations = episodes // size
    if generations < 1:
        raise ConfigError(f"{episodes} episodes are too few for a search; expected at least {size}.")
    rng = np.random.default_rng(seed_sequence(seed, "tune_per_layer candidates"))
    venv = _population(config, pair, size)
    low, high = np.log10(config.lr_min), np.log10(config.lr_max)
    mean = np.full(len(venv.layer_names), np.clip(search.mean, low, high))
    std = np.full_like(mean, search.std)
    for k, s in enumerate(episode_seeds(seed, "tune_per_layer", generations)):
        logs = np.clip(rng.normal(mean, std, (size, len(mean))), low, high)
        found = _run(
            venv, FixedRates(10.0**logs), [s] * size, progress, k, generations, f"search per layer on {label(pair)}"
        )
        ranking = np.argsort(-np.where(found.diverged, -np.inf, found.v_end), kind="stable")
        elites = logs[ranking[: max(round(search.elite_share * size), 2)]]
        mean = (1 - search.smoothing) * mean + search.smoothing * elites.mean(0)
        std = np.maximum((1 - search.smoothing) * std + search.smoothing * elites.std(0), search.min_std)
    return PerLayer("tuned-per-layer", tuple(10.0**mean), window_share=config.window / config.budget)


def _population(config: EnvConfig, pair: str, n: int) -> Syn2RealVectorEnv:
    # The rows' seeds pair candidates, and V is read from info; another reward might read the target.
    settings = replace(config, pairs=(pair,), reward="proxy_guided", common_random_numbers=False)
    return Syn2RealVectorEnv(n, **asdict(settings))


def _run(
    venv: Syn2RealVectorEnv,
    agent: _Rows | FixedRates,
    seeds: Sequence[int],
    progress: Progress | None,
    index: int,
    total: int,
    text: str,
) -> Outcome:
    n_steps = venv.episodes.n_steps()
    report = reporter(progress, index * n_steps, total * n_steps, text)
    found = run_episodes(venv, agent, seeds=seeds, on_step=lambda step: report(step.number))
    report(n_steps)
    return found


class _Rows:
    """Another schedule in each row of a population."""

    output: Literal["rates"] = "rates"

    def __init__(self, schedules: Sequence[Schedule]) -> None:
        self.schedules = schedules

    def act(
        self, observations: NDArray[np.float32], state: None, deterministic: bool
    ) -> tuple[NDArray[np.float64], None]:
        rows = [schedule.act(row[None])[0] for schedule, row in zip(self.schedules, observations, strict=True)]
        return np.concatenate(rows), None


class FixedRates:
    """Rates ``(N, n_layers)`` that stay as they are."""

    output: Literal["rates"] = "rates"

    def __init__(self, rates: NDArray[np.float64]) -> None:
        self.rates = rates

    def act(
        self, observations: NDArray[np.float32], state: None, deterministic: bool
    ) -> tuple[NDArray[np.float64], None]:
        """The rates, whatever is observed."""
        return self.rates, None
