"""Learned rates that drive an adaptation."""

from __future__ import annotations

from pathlib import Path

from l2o_env.action import ANY_OPTIMIZER
from l2o_env.adaptation import METHODS, Adaptation
from l2o_env.errors import ConfigError
from l2o_env.evaluation.agent import AgentLike
from l2o_env.training.player import settings_of
from l2o_env.training.policies import find_policy
from l2o_env.training.scheduler import LearnedRates

_OPTIMIZER = "sgd"
"""What all methods make their updates by."""


def check_joint(method: str) -> None:
    """Raises ``ConfigError`` unless a method updates the whole network together, so that rates can be set for it."""
    if not METHODS[method].joint:
        fitting = ", ".join(name for name, kind in METHODS.items() if kind.joint)
        raise ConfigError(f"{method!r} does not update body and head together; learned rates can drive {fitting}.")


def drive(run: Adaptation, policy: str | Path | AgentLike) -> LearnedRates:
    """Lets a policy set the rate of each layer from now on.

    It sees the gradients of the method's own loss, which no policy was trained on, and neither a proxy nor a
    validation; what it lacks is masked.

    Args:
        run: The adaptation, before its first round.
        policy: An agent, or the folder of one; it has to be trained with SGD.

    Raises:
        ConfigError: If the method or the policy does not fit.
    """
    check_joint(run.method.name)
    agent = find_policy(policy)
    settings = settings_of(agent, _OPTIMIZER)
    if agent.output == "action" and settings.action != ANY_OPTIMIZER and settings.optimizer != _OPTIMIZER:
        raise ConfigError(
            f"The policy was trained with the optimizer {settings.optimizer!r}, and an adaptation's updates are those "
            f"of {_OPTIMIZER!r}; give one that was trained with it (`l2o train --env optimizer={_OPTIMIZER}`) or for "
            f"any (`--action {ANY_OPTIMIZER}`), such as 'relative'."
        )
    rates = LearnedRates(
        run.method.optimizers["model"],
        run.model,
        agent,
        total_updates=run.config.rounds * run.config.updates,
        groups=run.model.layer_groups(),
        head=run.method.head_name,
    )
    run.method.observe = rates.observe
    return rates
