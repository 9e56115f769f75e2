"""Inner optimizers, one a file: how gradients and learning rates become new weights."""

from typing import Any

from l2o_env.optimizers.adamw import AdamW
from l2o_env.optimizers.base import Defaults, UpdateRule
from l2o_env.optimizers.lion import Lion
from l2o_env.optimizers.prodigy import Prodigy
from l2o_env.optimizers.rate_in_momentum import RateInMomentum
from l2o_env.optimizers.schedule_free import ScheduleFree
from l2o_env.optimizers.sgd import SGD

RULES: dict[str, type[UpdateRule]] = {
    rule.name: rule for rule in (AdamW, Lion, Prodigy, RateInMomentum, ScheduleFree, SGD)
}
"""Optimizers by the name that the setting ``optimizer`` takes."""


def own_settings(name: str) -> dict[str, Any]:
    """Settings of an environment with another optimizer: its name, and None for what it has values of its own for."""
    return {"optimizer": name, **dict.fromkeys(Defaults._fields)}


__all__ = ["RULES", "Defaults", "UpdateRule", "own_settings"]
