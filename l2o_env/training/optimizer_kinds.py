"""Which of the environment's optimizers one of somebody's own is, and which cannot have rates set per layer."""

from __future__ import annotations

import torch
from torch import nn

from l2o_env.errors import ConfigError
from l2o_env.optimizers import RULES, UpdateRule

KINDS = {"SGD": "sgd", "Adam": "adamw", "AdamW": "adamw", "Lion": "lion"}
"""Names of classes, own or inherited, and the rule whose rates mean the same."""
_ONE_RATE = ("prodigy", "dadapt")
_AVERAGING = ("schedulefree",)


def check_sharding(model: nn.Module) -> None:
    """Raises ConfigError for a network whose layers cannot be told apart any more."""
    kinds = {kind.__name__ for module in model.modules() for kind in type(module).__mro__}
    if "FullyShardedDataParallel" in kinds:
        raise ConfigError(
            "FullyShardedDataParallel flattens parameters, so that layers cannot have learning rates of their own; "
            "shard the network with torch.distributed.fsdp.fully_shard (FSDP2)."
        )
    if "DeepSpeedEngine" in kinds:
        raise ConfigError(
            "DeepSpeed keeps gradients in flat buffers, where those of a layer cannot be read; shard the network with "
            "torch.distributed.fsdp.fully_shard (FSDP2), or train it with DDP."
        )


def innermost(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimizer inside what Accelerate and Lightning wrap around it.

    Raises:
        ConfigError: If it is none, such as a list of several.
    """
    if isinstance(optimizer, list | tuple):
        raise ConfigError(
            f"Got {len(optimizer)} optimizers; LearnedRates drives one. Put all layers into the groups of one "
            "(l2o_env.param_groups)."
        )
    inside = getattr(optimizer, "optimizer", None)
    return innermost(inside) if isinstance(inside, torch.optim.Optimizer) else optimizer


def rule_of(optimizer: torch.optim.Optimizer) -> type[UpdateRule] | None:
    """The rule that an optimizer is; None if it is another.

    Raises:
        ConfigError: If its layers cannot have rates of their own.
    """
    names = [kind.__name__ for kind in type(optimizer).__mro__]
    told = f"{type(optimizer).__name__} cannot have learning rates set per layer"
    if any(part in name.lower() for name in names for part in _ONE_RATE):
        raise ConfigError(f"{told}: it finds one rate for all of them. Use AdamW, SGD or Lion.")
    if any(part in name.lower() for name in names for part in _AVERAGING):
        raise ConfigError(
            f"{told}: it averages the weights by their rates, so that one large rate would change all later averages. "
            "Use AdamW, SGD or Lion."
        )
    return next((RULES[KINDS[name]] for name in names if name in KINDS), None)


def check_kind(optimizer: torch.optim.Optimizer, wanted: str, *, any_optimizer: bool) -> None:
    """Checks that a policy's rates mean to an optimizer what they meant in training.

    Args:
        optimizer: The optimizer.
        wanted: The rule that the policy was trained with.
        any_optimizer: Whether another optimizer than that will do.

    Raises:
        ConfigError: If they do not, or rates per layer are not for this optimizer at all.
    """
    rule = rule_of(optimizer)
    if not any_optimizer and (rule is None or rule.name != wanted):
        raise ConfigError(
            f"The policy was trained with the optimizer {wanted!r} and sets rates for it; got "
            f"{type(optimizer).__name__}. Use that optimizer, a policy that was trained with yours, or "
            "any_optimizer=True to see what happens."
        )
