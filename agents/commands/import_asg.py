"""Turns a released ASG policy checkpoint into a policy: ``l2o import-asg FILE``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from tyro.conf import Positional, arg

from l2o_env.asg import GTA5, VISDA17
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError, unknown_name
from l2o_env.observation import ASG_SCALARS

from ..asg.agent import AsgAgent
from ..asg.released import Converted, convert, read_state_dict
from .console import Reporter

Recipe = Literal["visda17", "gta5"]
RECIPES: dict[Recipe, dict[str, Any]] = {"visda17": VISDA17, "gta5": GTA5}
"""Settings of the published runs."""


@dataclass(frozen=True)
class ImportAsgArgs:
    """Converts a released ASG policy checkpoint into a policy of this package."""

    file: Positional[Annotated[Path, arg(metavar="FILE")]]
    """The checkpoint: safetensors, or a PyTorch file that holds nothing but weights."""
    out: Annotated[Path, arg(metavar="DIR")] = Path("policy-asg")
    """Folder that the policy is written to."""
    recipe: Recipe = "visda17"
    """The published run that the policy belongs to: it decides on windows, update rule and base rate."""
    base_lr: Annotated[float | None, arg(metavar="X", help_behavior_hint="(default: that of the recipe)")] = None
    """Rate that the policy's factors multiply."""
    memoryless: bool = True
    """Whether each step begins with the LSTMs' first state, as the released forward pass has it."""


def import_asg(args: ImportAsgArgs, reporter: Reporter | None = None) -> int:
    """Converts a file and writes the policy; returns the exit status.

    Raises:
        ConfigError: If the file cannot be read or holds another network, or the folder holds something already.
    """
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise ConfigError(f"{args.out} exists and is not empty; name another folder with --out.")
    if args.recipe not in RECIPES:
        raise unknown_name("recipe", args.recipe, get_args(Recipe))
    reporter = reporter or Reporter()
    converted = convert(read_state_dict(args.file))
    n_groups = len(converted.heads)
    env_config = EnvConfig(**RECIPES[args.recipe])
    if args.base_lr is not None:
        env_config = replace(env_config, base_lr=args.base_lr)
    agent = AsgAgent(env_config, n_layers=n_groups, name=f"asg-{args.recipe}", memoryless=args.memoryless)
    agent.policy.load_state_dict(converted.tensors)
    agent.save(args.out)
    for line in described(converted):
        reporter.say(line)
    reporter.say(f"A policy for {n_groups} layer groups is in {args.out}.")
    return 0


def described(converted: Converted) -> list[str]:
    """Which part of a file became what, line by line, with a warning where only the order of the file decided."""
    scalars = ", ".join(f"{scalar} from {prefix}" for scalar, prefix in zip(ASG_SCALARS, converted.lstms, strict=True))
    lines = [
        f"LSTMs, by {converted.lstms_by}: {scalars}.",
        f"Heads from the first layer group to the last, by {converted.heads_by}: {', '.join(converted.heads)}.",
    ]
    if converted.left_out:
        lines.append(f"Left out: {', '.join(converted.left_out)}.")
    kinds = [kind for kind, by in (("LSTMs", converted.lstms_by), ("heads", converted.heads_by)) if by == "order"]
    if kinds:
        lines.append(
            f"Warning: nothing but the order of the file tells which of the {' and of the '.join(kinds)} is which; "
            "check the lines above, or put names into the file that say it."
        )
    return lines
