"""Cross-entropy search (Rubinstein, 1999): a rate per layer, tuned on the very pair by V, as a learned policy is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.rollout import Progress, episode_seeds, seed_sequence
from l2o_env.optimizers import RULES
from l2o_env.pairs import label

from .candidates import FixedRates, Trials
from .schedules import PerLayer


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
    mean: float = 0.5
    """Mean of the first generation over the optimizer's usual rate, the same for each layer."""
    std: float = 0.75
    """Standard deviation of the first generation."""
    smoothing: float = 0.7
    """Weight of a generation's elites against what was there before."""
    min_std: float = 0.1
    """Standard deviations stay above this."""


def tune_per_layer(
    config: EnvConfig,
    pair: str,
    episodes: int,
    seed: int,
    progress: Progress | None = None,
    search: CrossEntropyConfig | None = None,
) -> PerLayer:
    """The best constant rate of each layer group, by cross-entropy search on V.

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
    trials = Trials(config, pair, size, generations, progress, f"search per layer on {label(pair)}")
    low, high = np.log10(config.lr_min), np.log10(config.lr_max)
    mean = np.full(
        len(trials.venv.layer_names),
        np.clip(np.log10(search.mean * RULES[config.optimizer].defaults.base_lr), low, high),
    )
    std = np.full_like(mean, search.std)
    for s in episode_seeds(seed, "tune_per_layer", generations):
        logs = np.clip(rng.normal(mean, std, (size, len(mean))), low, high)
        outcome = trials.run(FixedRates(10.0**logs), [s] * size)
        ranking = np.argsort(-np.where(outcome.diverged, -np.inf, outcome.v_end), kind="stable")
        elites = logs[ranking[: max(round(search.elite_share * size), 2)]]
        mean = (1 - search.smoothing) * mean + search.smoothing * elites.mean(0)
        std = np.maximum((1 - search.smoothing) * std + search.smoothing * elites.std(0), search.min_std)
    return PerLayer("tuned-per-layer", tuple(10.0**mean), window_share=config.window / config.budget)
