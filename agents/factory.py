"""Makes agents: new ones that an algorithm is to train, and saved ones, whatever made them.

What an agent is made of is imported when it is made, so that Stable-Baselines3 is loaded for nobody else.
"""

from __future__ import annotations

from pathlib import Path

from l2o_env.config import EnvConfig
from l2o_env.errors import unknown_name
from l2o_env.safe_json import read_object

from .algorithms.registry import AlgorithmConfig, find
from .algorithms.reinforce_config import ReinforceConfig
from .base import Agent, Learner
from .opponents.rate_setter import SCHEDULE_FILE
from .policy_files import DESCRIPTION
from .policy_folders import MEND, Selection, policy_folder


def make_learner(
    algorithm: str, env_config: EnvConfig, *, config: AlgorithmConfig | None = None, n_layers: int, seed: int = 0
) -> Learner:
    """A new agent that an algorithm trains.

    Args:
        algorithm: Its name, such as ``"ppo"``.
        env_config: Settings of the environment: the action form and what its actions mean.
        config: Settings of the algorithm, from :func:`agents.configure`; None takes its defaults.
        n_layers: Number of layer groups.
        seed: Seed of the initial weights and of all that the algorithm draws.

    Raises:
        ConfigError: If the algorithm and the action form do not go together.
    """
    entry = find(algorithm, env_config.action)
    settings = entry.config if config is None else config
    if not isinstance(settings, ReinforceConfig):
        from .sb3.agent import SB3Agent

        return SB3Agent(env_config, algorithm=algorithm, config=settings, n_layers=n_layers, seed=seed)
    if algorithm == "asg":
        from .asg.agent import AsgAgent

        return AsgAgent(env_config, config=settings, n_layers=n_layers, seed=seed)
    from .reinforce.agent import Reinforce

    return Reinforce(env_config, config=settings, n_layers=n_layers, seed=seed)


def load(folder: str | Path, selection: Selection = "last") -> Agent:
    """Reads an agent, whatever made it.

    Nothing that the files hold is executed.

    Args:
        folder: A run folder, a folder that an agent was saved to, or the name of a policy that comes along.
        selection: Which policy of a run folder to take: the ``"last"`` one, or the ``"best"`` by V on the training
            pairs. Not read for other folders.

    Raises:
        ConfigError: If there is no agent in the folder, or one that this version cannot read.
    """
    folder = policy_folder(folder, selection)
    if (folder / SCHEDULE_FILE).is_file():
        from .opponents.files import load as load_opponent

        return load_opponent(folder)
    kind = read_object(folder / DESCRIPTION, MEND).get("agent")
    if kind == "reinforce":
        from .reinforce.agent import Reinforce

        return Reinforce.load(folder)
    if kind == "sb3":
        from .sb3.agent import SB3Agent

        return SB3Agent.load(folder)
    if kind == "asg":
        from .asg.agent import AsgAgent

        return AsgAgent.load(folder)
    raise unknown_name("kind of policy", kind, ("asg", "reinforce", "sb3"))
