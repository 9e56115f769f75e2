"""Which policy is meant: an agent itself, a policy of this package by its name, or a folder."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from l2o_env.agents_name import agents_name
from l2o_env.errors import ConfigError
from l2o_env.evaluation.agent import AgentLike, BaseAgent, completed

POLICIES = Path(__file__).parent / "policies"
"""Folder of the policies that come along, one folder each."""
DEFAULT = "default"
"""What the policy is called that is taken where none is named."""
_TAKEN = "transfer"
"""Which of them that is."""
LOADER = "factory:load"
"""What reads a policy's folder, in the package of agents. That stands above this room, so that it is named, as
Gymnasium's ids name what they make, and found when a folder is to be read; whoever gives an agent needs no more."""


def find_policy(policy: str | Path | AgentLike) -> BaseAgent:
    """The agent that is meant.

    Args:
        policy: An agent; or the name of a policy that comes along (``"default"``), or a run folder, or a folder that an
            agent was saved to.

    Raises:
        ConfigError: If there is no such policy, or it cannot be read.
    """
    if not isinstance(policy, str | Path):
        return completed(policy)
    if policy == DEFAULT and shipped(DEFAULT) is None:
        raise ConfigError(
            f"This installation comes without the policy {DEFAULT!r} (there is no {POLICIES / _TAKEN}); give the "
            "folder of a run of `l2o train`, such as policy='runs/mine'."
        )
    module, _, name = LOADER.partition(":")
    load: Callable[[str | Path], BaseAgent] = getattr(import_module(f"{agents_name()}.{module}"), name)
    return load(policy)


def located(policy: str | Path) -> Path:
    """The folder that is meant: that of a policy that comes along, if it is the name of one, or this one."""
    return (shipped(policy) if isinstance(policy, str) else None) or Path(policy).expanduser()


def names() -> tuple[str, ...]:
    """What policies that come along are called."""
    return tuple(sorted((DEFAULT, *(folder.name for folder in POLICIES.glob("*/")))))


def shipped(name: str) -> Path | None:
    """The folder of a policy that comes along; None if there is none of that name."""
    folder = POLICIES / (_TAKEN if name == DEFAULT else name)
    return folder if name and Path(name).name == name and folder.is_dir() else None
