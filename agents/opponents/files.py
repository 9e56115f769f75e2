"""Reads saved opponents."""

from __future__ import annotations

import json
from pathlib import Path

from agents.opponents.random_rates import RandomRates
from agents.opponents.rate_setter import SCHEDULE_FILE, RateSetter
from agents.opponents.schedules import PerLayer, Schedule
from l2o_env.errors import ConfigError, unknown_name
from l2o_env.optimizers import own_settings

KINDS: dict[str, type[RateSetter]] = {kind.__name__: kind for kind in (Schedule, PerLayer, RandomRates)}
"""What a saved opponent can be, by the name that its file has for it."""

OVERRIDES = frozenset({*own_settings("sgd"), "guidance", "guidance_weight", "random_init"})
"""Settings of the environment that a file may bring along. A pair can name code that is run, and another budget would
be compared with those of others: these are the user's to give."""


def load(folder: str | Path) -> RateSetter:
    """Reads an opponent that its ``save`` wrote.

    Raises:
        ConfigError: If the folder holds none, one that is damaged, or one that sets more than ``OVERRIDES``.
    """
    path = Path(folder) / SCHEDULE_FILE
    try:
        settings = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{folder} holds no {SCHEDULE_FILE}; give a folder that a schedule was saved to.") from error
    except ValueError as error:  # no JSON, or no text at all
        raise ConfigError(f"{path} is damaged ({error}); save the schedule again.") from error
    kind = settings.pop("agent", None) if isinstance(settings, dict) else None
    if kind not in KINDS:
        raise unknown_name("schedule", kind, KINDS)
    overrides = settings.get("config_overrides", {})
    if not isinstance(overrides, dict) or not overrides.keys() <= OVERRIDES:
        raise ConfigError(
            f"{path} sets more of the environment than a schedule may; its config_overrides can hold "
            f"{', '.join(sorted(OVERRIDES))}. Give other settings on the command line."
        )
    try:
        return KINDS[kind](**settings)
    except TypeError as error:
        raise ConfigError(f"{path} does not describe a {kind} ({error}); save it again.") from error
