"""The settings by which runs are compared: those that are always named, and those that differ from their defaults."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from l2o_env.config import EnvConfig
from l2o_env.pairs import label

from .train_options import Plan

ALWAYS = ("optimizer", "action", "reward", "guidance", "guidance_weight", "budget", "window")
"""Settings of the environment that stand in every row."""
_NOT_COMPARED = ("pairs", "common_random_numbers", "implementation", "cuda_graphs", "workers", "device")
"""Those that results do not depend on, or that are told otherwise."""


def hyper_parameters(plan: Plan) -> dict[str, Any]:
    """What stands beside the results of a run in TensorBoard's tab HPARAMS.

    Args:
        plan: The run.

    Returns:
        By name: the algorithm, seed, episodes, pairs, the settings of the environment in ``ALWAYS``, and every other
        setting of the environment or the algorithm that is not at its default.
    """
    environment = asdict(plan.env)
    changed = _changed(environment, asdict(EnvConfig(optimizer=plan.env.optimizer)))
    return {
        "algorithm": plan.args.algo,
        "seed": plan.args.seed,
        "episodes": plan.episodes,
        "pairs": label(plan.env.pairs[0]) if len(plan.env.pairs) == 1 else f"{len(plan.env.pairs)} pairs",
        **{name: environment[name] for name in ALWAYS},
        **{name: value for name, value in changed.items() if name not in (*ALWAYS, *_NOT_COMPARED)},
        **_changed(asdict(plan.settings), asdict(type(plan.settings)())),
    }


def _changed(settings: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value != defaults[name]}
