"""Reads any saved agent: learned policies and hand-made schedules, from a run folder or from a folder of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from agents.algorithms.reinforce_config import ReinforceConfig
from agents.algorithms.table import AlgorithmConfig, find
from agents.base import Agent
from l2o_env.errors import ConfigError, unknown_name
from l2o_env.results.run_folder import BEST_POLICY, CONFIG_FILE, POLICY

if TYPE_CHECKING:
    from agents.base import Learner
    from l2o_env.config import EnvConfig


def make_learner(name: str, env_config: EnvConfig, config: AlgorithmConfig, seed: int, n_layers: int) -> Learner:
    """A new agent that an algorithm trains.

    Args:
        name: Such as ``"ppo"``.
        env_config: Settings of the environment: the action form and what its actions mean.
        config: Settings of the algorithm, from :func:`configure`.
        seed: Seed of the initial weights and of all that the algorithm draws.
        n_layers: Number of layer groups.

    Raises:
        ConfigError: If the algorithm and the action form do not go together.
    """
    find(name, env_config.action)
    if name == "asg":
        from agents.asg.agent import AsgAgent

        assert isinstance(config, ReinforceConfig)
        recipe = ("base_lr", "window", "update_rule", "clip_norm", "lr_curve")  # ASG's own recipes differ in these
        return AsgAgent(n_layers, {key: getattr(env_config, key) for key in recipe}, config, seed)
    if isinstance(config, ReinforceConfig):
        from agents.reinforce.agent import Reinforce

        return Reinforce(env_config, config, seed, n_layers)
    from agents.sb3.agent import SB3Agent

    return SB3Agent(env_config, name, config, seed, n_layers)


Selection = Literal["last", "best"]
"""Which of the policies of a run folder is meant."""
POLICY_FOLDERS: dict[Selection, str] = {"last": POLICY, "best": BEST_POLICY}
"""Folders of a run that hold its policies: the one that training ended with, and the one of its checkpoints with the
highest V on the held-out synthetic images of the training pairs."""
_LEARNED, _SCHEDULE = "policy.json", "schedule.json"


def load(folder: str | Path, selection: Selection = "last") -> Agent:
    """Reads an agent, whatever made it.

    Nothing that the files hold is executed.

    Args:
        folder: A run folder, or a folder that an agent was saved to.
        selection: Which policy of a run folder to take: the ``"last"`` one, or the ``"best"`` by V on the training
            pairs. Not read for other folders.

    Raises:
        ConfigError: If there is no agent in the folder, or one that this version cannot read.
    """
    folder = policy_folder(folder, selection)
    if (folder / _SCHEDULE).is_file():
        from agents.opponents import schedules

        return schedules.load(folder)
    kind = _kind(folder)
    if kind == "reinforce":
        from agents.reinforce.agent import Reinforce

        return Reinforce.load(folder)
    if kind == "sb3":
        from agents.sb3.agent import SB3Agent

        return SB3Agent.load(folder)
    if kind == "asg":
        from agents.asg.agent import AsgAgent

        return AsgAgent.load(folder)
    raise unknown_name("kind of policy", kind, ("asg", "reinforce", "sb3"))


def policy_folder(folder: str | Path, selection: Selection = "last") -> Path:
    """The folder that holds the agent's files, of a run folder or of such a folder itself.

    Raises:
        ConfigError: If there is none.
    """
    if selection not in POLICY_FOLDERS:
        raise unknown_name("selection", selection, get_args(Selection))
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"There is no folder {folder}; give the folder of a run, or of a saved policy.")
    for candidate in (folder, folder / POLICY_FOLDERS[selection]):
        if (candidate / _LEARNED).is_file() or (candidate / _SCHEDULE).is_file():
            return candidate
    others = [name for name, sub in POLICY_FOLDERS.items() if (folder / sub / _LEARNED).is_file()]
    hint = f" It has the selection {others[0]!r}." if others else " Did the run end before its first update?"
    raise ConfigError(
        f"{folder} holds no policy: there is neither {POLICY_FOLDERS[selection]}/{_LEARNED} nor {_LEARNED} nor "
        f"{_SCHEDULE}.{hint}"
    )


def trained_on(folder: str | Path) -> tuple[str, ...]:
    """Names of the pairs that the policy of a run folder was trained on, as its ``config.json`` says.

    Args:
        folder: A run folder, or the policy folder inside one.

    Returns:
        The names; empty where no run folder is around the policy.

    Raises:
        ConfigError: If ``config.json`` is damaged.
    """
    folder = Path(folder).expanduser()
    for candidate in (folder, folder.parent):
        if (candidate / CONFIG_FILE).is_file():
            config = _read_json(candidate / CONFIG_FILE)
            found = config.get("trained_on", config.get("environment", {}).get("pairs", ()))
            return tuple(str(name) for name in found)
    return ()


def _kind(folder: Path) -> Any:
    return _read_json(folder / _LEARNED).get("agent")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no text at all
        raise ConfigError(f"{path} is damaged ({error}); copy it again, or train anew.") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} is damaged: it holds no JSON object; copy it again, or train anew.")
    return value
