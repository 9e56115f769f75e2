"""Inner optimizers, one a file: how gradients and learning rates become new weights."""

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

__all__ = ["RULES", "Defaults", "UpdateRule"]
