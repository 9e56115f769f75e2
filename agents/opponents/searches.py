"""All that can be tuned on the very pair, by name: each search gives one or more opponents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError, unknown_name
from l2o_env.evaluation.rollout import Progress

from . import grid_search
from .cross_entropy import CrossEntropyConfig, tune_per_layer
from .grid_search import tune_uniform
from .rate_setter import RateSetter
from .recipes import RECIPES, tune_recipe

Search = Callable[[EnvConfig, str, int, int, Progress | None], list[RateSetter]]
"""Settings of the environment, pair, budget of episodes, seed and progress to what was found."""


def _recipe(
    name: str, config: EnvConfig, pair: str, episodes: int, seed: int, progress: Progress | None
) -> list[RateSetter]:
    return [tune_recipe(name, config, pair, episodes, seed, progress)]


def _uniform(config: EnvConfig, pair: str, episodes: int, seed: int, progress: Progress | None) -> list[RateSetter]:
    return list(tune_uniform(config, pair, episodes, seed, progress)[:2])


def _per_layer(config: EnvConfig, pair: str, episodes: int, seed: int, progress: Progress | None) -> list[RateSetter]:
    return [tune_per_layer(config, pair, episodes, seed, progress)]


def check_searches(names: Sequence[str], episodes: int) -> None:
    """Checks that searches exist, and have episodes enough.

    Args:
        names: Names of searches.
        episodes: Episodes of each.

    Raises:
        ConfigError: If a name is unknown, or a search needs more episodes.
    """
    for name in names:
        if name not in SEARCHES:
            raise unknown_name("search for a tuned opponent", name, SEARCHES)
        if episodes < MIN_EPISODES[name]:
            raise ConfigError(
                f"{episodes} episodes are too few to tune {name!r}; give at least {MIN_EPISODES[name]}, 0 to leave out "
                "tuned opponents, or name others."
            )


SEARCHES: Mapping[str, Search] = {
    **{name: partial(_recipe, name) for name in RECIPES},
    "uniform": _uniform,
    "per-layer": _per_layer,
}
"""Searches: every recipe (which gives ``tuned-<name>``), and in the environment's own optimizer the best uniform
constant and schedule (``best-constant``, ``best-schedule``) and a rate per layer (``tuned-per-layer``)."""
MIN_EPISODES: Mapping[str, int] = {
    **{name: recipe.min_episodes for name, recipe in RECIPES.items()},
    "uniform": grid_search.MIN_EPISODES,
    "per-layer": CrossEntropyConfig.min_population,
}
"""Fewest episodes of each search."""
TUNED: Mapping[str, tuple[str, ...]] = {
    **{name: (f"tuned-{name}",) for name in RECIPES},
    "uniform": ("best-constant", "best-schedule"),
    "per-layer": ("tuned-per-layer",),
}
"""Names of what each search gives."""
