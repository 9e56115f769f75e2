"""Reads saved opponents."""

from __future__ import annotations

from pathlib import Path

from l2o_env.errors import ConfigError, reading, shortened, unknown_name
from l2o_env.optimizers import own_settings
from l2o_env.safe_json import read_json

from ..options import typed
from ..policy_files import MAX_NAME
from .random_rates import RandomRates
from .rate_setter import SCHEDULE_FILE, RateSetter
from .schedules import PerLayer, Schedule

KINDS: dict[str, type[RateSetter]] = {kind.__name__: kind for kind in (Schedule, PerLayer, RandomRates)}
"""What a saved opponent can be, by the name that its file has for it."""

_MEND = "save the schedule again."

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
        settings = read_json(path, _MEND)
    except FileNotFoundError as error:
        raise ConfigError(f"{folder} holds no {SCHEDULE_FILE}; give a folder that a schedule was saved to.") from error
    kind = settings.pop("agent", None) if isinstance(settings, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise unknown_name("schedule", kind, KINDS)
    overrides = settings.get("config_overrides", {})
    if not isinstance(overrides, dict) or not overrides.keys() <= OVERRIDES:
        raise ConfigError(
            f"{path} sets more of the environment than a schedule may; its config_overrides can hold "
            f"{', '.join(sorted(OVERRIDES))}. Give other settings on the command line."
        )
    with reading(path, _MEND):
        try:
            arguments = typed(KINDS[kind], settings, "setting")
            if len(arguments["name"]) > MAX_NAME:
                raise ValueError(f"its name is {shortened(arguments['name'], 40)}")
            return KINDS[kind](**arguments)
        except ConfigError as error:
            raise ConfigError(f"{path} does not describe a {kind}: {error}") from error
