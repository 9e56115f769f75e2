"""Reads saved opponents."""

from __future__ import annotations

import json
from pathlib import Path

from agents.opponents.random_rates import RandomRates
from agents.opponents.rate_setter import SCHEDULE_FILE, RateSetter
from agents.opponents.schedules import PerLayer, Schedule
from l2o_env.errors import ConfigError, unknown_name

KINDS: dict[str, type[RateSetter]] = {kind.__name__: kind for kind in (Schedule, PerLayer, RandomRates)}
"""What a saved opponent can be, by the name that its file has for it."""


def load(folder: str | Path) -> RateSetter:
    """Reads an opponent that its ``save`` wrote.

    Raises:
        ConfigError: If the folder holds none, or one that is damaged.
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
    try:
        return KINDS[kind](**settings)
    except TypeError as error:
        raise ConfigError(f"{path} does not describe a {kind} ({error}); save it again.") from error
