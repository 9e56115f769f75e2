"""What is evaluated: the checkpoints of runs, and hand-made opponents."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from l2o_env.action import ACTION_SETTINGS, action_settings
from l2o_env.config import IN_PROCESS, EnvConfig
from l2o_env.errors import ConfigError, reading, unknown_name
from l2o_env.evaluation.agent import settings_for
from l2o_env.evaluation.contestant import Contestant, Mode, SelectionRule, folder_digest
from l2o_env.results.run_folder import CHECKPOINTS, CONFIG_FILE
from l2o_env.safe_json import as_object, read_object
from l2o_env.training.policies import located

from ..base import Agent
from ..factory import load
from ..opponents import default_opponents
from ..options import environment_settings
from ..policy_folders import MEND, POLICY_FOLDERS, policy_folder, trained_on

FREE_SETTINGS = (
    *ACTION_SETTINGS, "pairs", "reward", "kl_weight", "divergence_penalty", "common_random_numbers", "implementation",
    "device", "cuda_graphs", "feature_dropout", *IN_PROCESS,
)  # fmt: skip
"""Settings in which runs may differ and still be compared: the others define the fine-tuning runs themselves."""


@dataclass(frozen=True)
class TrainedPolicy:
    """A policy that a run left behind.

    Attributes:
        name: As the table calls it; several runs of one name are one policy, trained several times.
        run: Name of the run's folder.
        checkpoints: Its folders, by selection of ``agents.load``.
        others: Folders of all its checkpoints.
        trained_on: Names of the pairs it was trained on.
        config: Settings it was trained with; None where there is no run folder around it.
    """

    name: str
    run: str
    checkpoints: dict[str, Path]
    others: tuple[Path, ...]
    trained_on: tuple[str, ...]
    config: EnvConfig | None


def find_policy(argument: str) -> TrainedPolicy:
    """Finds the checkpoints that a command line names.

    Args:
        argument: ``FOLDER`` or ``NAME=FOLDER``; a run folder, a policy folder, or the name of a policy that comes
            along. Without a name the run folder's own name is taken.

    Raises:
        ConfigError: If there is no policy, or the run's settings cannot be read.
    """
    name, separator, path = argument.partition("=")
    path = path if separator else argument
    folder = located(path)
    checkpoints: dict[str, Path] = {}
    for selection in POLICY_FOLDERS:
        if selection == "last" or (folder / POLICY_FOLDERS[selection]).is_dir():
            checkpoints[selection] = policy_folder(folder, selection)
    last = checkpoints["last"]
    run = last.parent if (last.parent / CONFIG_FILE).is_file() else None
    return TrainedPolicy(
        name=name if separator else (run or last).resolve().name,
        run=str((run or last).resolve().name),
        checkpoints=checkpoints,
        others=() if run is None else tuple(sorted((run / CHECKPOINTS).glob("*/"))),
        trained_on=trained_on(last),
        config=None if run is None else _environment(run / CONFIG_FILE),
    )


def _environment(path: Path) -> EnvConfig:
    settings = read_object(path, MEND)
    with reading(path, MEND):
        try:
            return EnvConfig.from_saved(as_object(settings["environment"]))
        except ConfigError as error:
            raise ConfigError(f"The settings in {path} are not those of this version: {error}") from error


def given_settings(env: Sequence[str], device: str, **options: Any) -> dict[str, Any]:
    """Settings of the environment that a command line gives; the others are those of the policies' training.

    Args:
        env: What ``--env`` was given.
        device: The device; see ``device_of``.
        **options: Other settings with an option of their own; None where it was not given.

    Raises:
        ConfigError: If one cannot work.
    """
    given = {key: value for key, value in options.items() if value is not None}
    own = (*ACTION_SETTINGS, *options, "pairs", "device")
    return {**given, "device": device, **environment_settings(env, own)}


def common_settings(policies: Sequence[TrainedPolicy], overrides: dict[str, Any]) -> EnvConfig:
    """The settings that all policies are evaluated with.

    Args:
        policies: The policies.
        overrides: Settings that are given, such as ``device``.

    Raises:
        ConfigError: If policies were trained on fine-tuning runs that differ, such as in their budget.
    """
    known = [policy for policy in policies if policy.config is not None]
    if not known:
        return EnvConfig(**overrides)
    first = known[0]
    assert first.config is not None
    for policy in known[1:]:
        for key, value in vars(first.config).items():
            other = getattr(policy.config, key)
            if key not in FREE_SETTINGS and key not in overrides and other != value:
                hint = f"--{key}" if key in ("budget", "window") else f"--env {key}=VALUE for both, or two evaluations"
                raise ConfigError(
                    f"{first.name!r} was trained with {key} {value!r} and {policy.name!r} with {other!r}, so that "
                    f"their results cannot be compared; use {hint}."
                )
    defaults = {key: getattr(EnvConfig, key) for key in FREE_SETTINGS}
    return replace(first.config, **{**defaults, **overrides})


def contestants_of(
    policy: TrainedPolicy,
    config: EnvConfig,
    modes: tuple[Mode, ...],
    *,
    all_checkpoints: bool = False,
    optimizer: str | None = None,
) -> list[Contestant]:
    """The checkpoints of a policy, each to be run with its own action form.

    Args:
        policy: The policy.
        config: Settings that all policies are evaluated with.
        modes: How it acts.
        all_checkpoints: Whether the target oracle is to choose among all checkpoints, which run deterministic then.
        optimizer: What makes the updates, over whose rates its actions are taken; None: that of its training.

    Raises:
        ConfigError: If a checkpoint cannot be read, or its actions are not those of its run's settings.
    """
    contestants = [
        _contestant(policy, folder, config, modes, "source" if name == "best" else "last", optimizer)
        for name, folder in policy.checkpoints.items()
    ]
    for folder in policy.others if all_checkpoints and "deterministic" in modes else ():
        contestants.append(_contestant(policy, folder, config, ("deterministic",), "checkpoint", optimizer))
    return contestants


def _contestant(
    policy: TrainedPolicy,
    folder: Path,
    config: EnvConfig,
    modes: tuple[Mode, ...],
    selection: SelectionRule,
    optimizer: str | None,
) -> Contestant:
    agent = load(folder)
    own = agent.action_settings
    if policy.config is not None:
        agent.check_env(settings_for(agent, policy.config))
        own = {key: getattr(policy.config, key) for key in ACTION_SETTINGS}
    settings = settings_for(agent, config, **own)
    if optimizer is not None:
        settings = settings.with_optimizer(optimizer)
    return Contestant(
        policy=policy.name,
        load=partial(load, folder) if optimizer is None else partial(_load_for, folder, settings),
        digest=folder_digest(folder),
        config=settings,
        selection=selection,
        run=policy.run,
        checkpoint=folder.name if selection == "checkpoint" else "",
        trained_on=policy.trained_on,
        modes=modes if agent.output == "action" else ("deterministic",),
    )


def _load_for(folder: Path, config: EnvConfig) -> Agent:
    """A policy whose actions are taken for those of other settings."""
    agent = load(folder)
    agent.action_settings = action_settings(config)
    return agent


def opponents(names: Sequence[str], config: EnvConfig, seed: int) -> list[Contestant]:
    """Hand-made opponents by name.

    Raises:
        ConfigError: If a name is unknown.
    """
    known = default_opponents(config, seed)
    for name in names:
        if name not in known:
            raise unknown_name("opponent", name, known)
    # Made anew each time, because random rates come from a generator that goes on.
    return [
        Contestant(name, partial(_opponent, name, config, seed), agent_digest(known[name]), config, "fixed")
        for name in names
    ]


def _opponent(name: str, config: EnvConfig, seed: int) -> Agent:
    return default_opponents(config, seed)[name]


def agent_digest(agent: Agent) -> str:
    """SHA-256 of what an agent saves of itself."""
    with tempfile.TemporaryDirectory() as folder:
        agent.save(Path(folder))
        return folder_digest(Path(folder))
