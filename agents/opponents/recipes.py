"""How people fine-tune: an optimizer and a schedule, at its usual settings or tuned on the very pair by V.

The grids are for fine-tuning: around the usual rate of each optimizer. Where the best of one lies at its edge, it goes
on outward, so that no opponent loses because its grid was made for another network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.rollout import MAX_OPTIMIZEES, Progress, episode_seeds
from l2o_env.optimizers import own_settings
from l2o_env.pairs import label

from .candidates import RowByRow, Trials
from .schedules import Schedule
from .shapes import ShapeName

MIN_SEEDS = 4
"""Fewest episodes of a candidate; smaller budgets make the grid of rates coarser."""
MAX_RATES = 8
"""Most rates of a grid; larger budgets give each candidate more episodes."""
MAX_OUTWARD = 4
"""How many times a grid goes on outward."""
LONGEST_STEP = 10**0.5
"""Largest factor from its edge to the next rate outward."""


@dataclass(frozen=True)
class Recipe:
    """An optimizer and a schedule.

    Attributes:
        optimizer: The inner optimizer.
        rate: Its usual learning rate: that of the head.
        rates: Smallest and largest rate of the grid.
        shape: Factor over time.
        layer_decay: Factor from each layer group to the one below it.
        layer_decays: Those of the grid.
    """

    optimizer: str
    rate: float
    rates: tuple[float, float]
    shape: ShapeName = "constant"
    layer_decay: float = 1.0
    layer_decays: tuple[float, ...] = (1.0,)

    @property
    def min_episodes(self) -> int:
        """Fewest episodes that it can be tuned with."""
        return 2 * MIN_SEEDS * len(self.layer_decays)

    @property
    def overrides(self) -> dict[str, Any]:
        """Settings of the environment that it runs with: the optimizer, and what suits it."""
        return own_settings(self.optimizer)

    def schedule(self, name: str, config: EnvConfig) -> Schedule:
        """The recipe at its usual settings.

        Args:
            name: As tables call it.
            config: Settings of the environment: window and budget.
        """
        share = config.window / config.budget
        return Schedule(
            name, self.rate, shape=self.shape, layer_decay=self.layer_decay, window_share=share,
            config_overrides=self.overrides,
        )  # fmt: skip


RECIPES: Mapping[str, Recipe] = {
    "adamw-cosine": Recipe("adamw", 1e-3, (3e-4, 1e-2), "cosine"),
    "adamw-warmup-cosine": Recipe("adamw", 1e-3, (3e-4, 1e-2), "warmup_cosine"),
    "adamw-layer-decay": Recipe("adamw", 1e-3, (6e-4, 1.5e-2), "warmup_cosine", 0.75, (0.65, 0.75, 0.85, 0.95)),
    "sgd-warmup-cosine": Recipe("sgd", 0.02, (0.005, 0.2), "warmup_cosine"),
    "prodigy": Recipe("prodigy", 1.0, (0.1, 3.0), "cosine"),
    "schedule-free": Recipe("schedule_free", 2.5e-3, (3e-4, 1e-2)),
}
"""Recipes by name: AdamW (PyTorch's rate) with a cosine, with a warm-up of a tenth before it, with rates that decay
from the head down (as BEiT and ViT are fine-tuned), SGD, and the two that need no schedule or no rate, as their authors
set them."""


def tune_recipe(
    name: str, config: EnvConfig, pair: str, episodes: int, seed: int, progress: Progress | None = None
) -> Schedule:
    """The best of a recipe's grid on a pair, by mean V over the same seeds for all candidates.

    While the best has the smallest or the largest rate, the grid gets another one beyond it, ``MAX_OUTWARD`` times at
    most. These episodes come on top of the budget.

    Args:
        name: A name of ``RECIPES``.
        config: Settings of the environment but for the optimizer; ``pairs``, ``reward`` and ``common_random_numbers``
            are not read.
        pair: The pair to tune on.
        episodes: Budget of episodes within the grid; what is left over by the division among candidates is not used.
        seed: Seed of the episodes.
        progress: Called after each step.

    Returns:
        The schedule, called ``"tuned-<name>"``. A candidate that diverged on one seed is not chosen, unless all did.

    Raises:
        ConfigError: If the budget is too small for two rates.
    """
    recipe = RECIPES[name]
    n_rates = min(MAX_RATES, episodes // (MIN_SEEDS * len(recipe.layer_decays)))
    if n_rates < 2:
        raise ConfigError(f"{episodes} episodes are too few to tune {name!r}; expected at least {recipe.min_episodes}.")
    usual = recipe.schedule(f"tuned-{name}", config)
    settings = replace(config, **recipe.overrides)
    seeds = episode_seeds(seed, "tune_recipe", episodes // (n_rates * len(recipe.layer_decays)))

    def tried(rates: Sequence[float]) -> list[tuple[float, Schedule]]:
        candidates = [
            replace(usual, rate=rate, layer_decay=decay) for rate, decay in product(rates, recipe.layer_decays)
        ]
        values = _values(candidates, settings, pair, seeds, progress, name)
        return list(zip(values.mean(1).tolist(), candidates, strict=True))

    rates = np.geomspace(*recipe.rates, n_rates).tolist()
    step = min(rates[1] / rates[0], LONGEST_STEP)
    results = tried(rates)
    for _ in range(MAX_OUTWARD):
        best = _best(results)
        if best.rate == max(rates):
            rates.append(best.rate * step)
        elif best.rate == min(rates):
            rates.append(best.rate / step)
        else:
            break
        results += tried(rates[-1:])
    return _best(results)


def _best(results: Sequence[tuple[float, Schedule]]) -> Schedule:
    """The candidate with the highest mean V; the first of equals."""
    return max(results, key=lambda result: result[0])[1]


def _values(
    candidates: list[Schedule], config: EnvConfig, pair: str, seeds: list[int], progress: Progress | None, name: str
) -> np.ndarray:
    """V of each candidate on each seed, ``(n_candidates, n_seeds)``; minus infinity where it diverged."""
    rows = [(candidate, s) for candidate in candidates for s in seeds]
    n = min(MAX_OPTIMIZEES, len(rows))
    populations = [rows[i : i + n] for i in range(0, len(rows), n)]
    trials = Trials(config, pair, n, len(populations), progress, f"{name} on {label(pair)}")
    values: list[float] = []
    for population in populations:
        full = population + population[-1:] * (n - len(population))
        outcome = trials.run(RowByRow([candidate for candidate, _ in full]), [s for _, s in full])
        values.extend(np.where(outcome.diverged, -np.inf, outcome.v_end)[: len(population)])
    return np.array(values).reshape(len(candidates), len(seeds))
