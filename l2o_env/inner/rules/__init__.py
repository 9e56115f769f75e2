"""Update rules of the inner loop, one a file: how gradients and learning rates become new weights."""

from l2o_env.config import EnvConfig
from l2o_env.inner.rules.base import Rule
from l2o_env.inner.rules.rate_in_momentum import RateInMomentum
from l2o_env.inner.rules.sgd import SGD

RULES: dict[str, type[Rule]] = {rule.name: rule for rule in (SGD, RateInMomentum)}
"""Rules by name."""


def make_rule(config: EnvConfig) -> Rule:
    """The rule that the settings name."""
    return RULES[config.update_rule](config)


__all__ = ["RULES", "Rule", "make_rule"]
