"""The hand-made opponents that every policy is compared with, at rates that suit the embedded pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from l2o_env.config import EnvConfig
from l2o_env.optimizers import own_settings

from ..base import Agent
from .profiles import ProfileName
from .random_rates import RandomRates
from .recipes import RECIPES
from .schedules import Schedule
from .shapes import ShapeName

Make = Callable[[str, EnvConfig, int], Agent]
"""Name, settings of the environment and seed to an opponent."""


def _schedule(
    rate: float, profile: ProfileName = "uniform", shape: ShapeName = "constant", **config_overrides: Any
) -> Make:
    def make(name: str, config: EnvConfig, seed: int) -> Schedule:
        share = config.window / config.budget
        overrides = {**own_settings("sgd"), **config_overrides}  # what published recipes were made for
        return Schedule(name, rate, profile, shape, window_share=share, config_overrides=overrides)

    return make


def _random(name: str, config: EnvConfig, seed: int) -> RandomRates:
    return RandomRates(name, config.lr_min, config.lr_max, seed)


def _recipe(name: str, config: EnvConfig, seed: int) -> Schedule:
    return RECIPES[name].schedule(name, config)


OPPONENTS: Mapping[str, Make] = {
    **dict.fromkeys(RECIPES, _recipe),
    "uniform": _schedule(0.02),
    "small-backbone": _schedule(0.1, "small_backbone"),
    "asg-sgd": _schedule(0.1, "tenth_backbone", "warmup_poly"),
    "cosine": _schedule(0.05, "uniform", "warmup_cosine"),
    "discriminative": _schedule(0.1, "discriminative"),
    "frozen-backbone": _schedule(0.1, "head_only"),
    "random-init": _schedule(0.02, random_init=True),
    "random": _random,
}
"""What makes each opponent, by name, in the order of tables. Another line is another opponent: with other settings of
the environment as keywords of ``_schedule``, or with a function of its own."""


def default_opponents(config: EnvConfig, seed: int = 0) -> dict[str, Agent]:
    """Every opponent of ``OPPONENTS`` by name.

    Args:
        config: Settings of the environment: window and budget, and the limits of random rates.
        seed: Seed of the random rates.
    """
    return {name: make(name, config, seed) for name, make in OPPONENTS.items()}
