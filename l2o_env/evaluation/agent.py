"""What evaluation asks of an agent: two things that every agent has, and a few more that it may leave out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from l2o_env.action import ACTION_SETTINGS
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError, shortened

Output = Literal["action", "rates"]
"""What an agent sets: actions of the environment, or physical learning rates, which need no particular action form."""
OVERRIDABLE = frozenset({
    *ACTION_SETTINGS, "observation", "windows", "momentum", "clip_norm", "lr_curve", "lr_warmup", "guidance",
    "guidance_weight", "guidance_schedule", "guidance_cap", "l2sp_head", "csg_temperature", "csg_dim", "csg_queue",
    "random_init",
})  # fmt: skip
"""Settings of the environment that an agent may bring along: how it observes and acts, the optimizer, the guidance and
the initialisation. All agents of a comparison have the others in common, above all the budget."""
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class AgentLike(Protocol):
    """The least that an agent has; what else evaluation asks is in :class:`BaseAgent`, with defaults."""

    @property
    def output(self) -> Output:
        """Whether :meth:`act` returns actions (learned policies) or rates (hand-made schedules)."""
        ...

    def act(self, observations: NDArray[np.float32], state: Any, deterministic: bool) -> tuple[NDArray[Any], Any]:
        """Chooses actions, for any number of optimizees at once.

        Args:
            observations: ``(N, n_layers * n_features)``.
            state: What the last call of the episode returned; None at its start.
            deterministic: Whether to take the most likely action instead of a sample.

        Returns:
            Actions or rates ``(N, n_layers)``, and the state for the next call.
        """
        ...


class BaseAgent(ABC):
    """All that evaluation asks of an agent, with a default where an agent may leave it out."""

    output: Output = "action"
    """What :meth:`act` returns."""
    config_overrides: Mapping[str, Any] = _NOTHING
    """Settings of the environment by name, out of ``OVERRIDABLE``, that the agent is run with in place of those of
    everyone, such as ``{"random_init": True}``; ``window`` too, beside ``windows`` of ASG, whose shortest it is."""

    @abstractmethod
    def act(self, observations: NDArray[np.float32], state: Any, deterministic: bool) -> tuple[NDArray[Any], Any]:
        """Chooses actions; see :meth:`AgentLike.act`."""

    def check_env(self, env_config: EnvConfig) -> None:  # noqa: B027
        """Raises ConfigError unless observations and actions of an environment mean what they mean to the agent."""

    def check_layers(self, n_layers: int) -> None:  # noqa: B027
        """Raises ConfigError unless the agent runs on networks of so many layer groups."""

    def describe(
        self, observations: NDArray[np.float32], state: Any, actions: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        """What recordings keep of actions that :meth:`act` chose for observations in a state.

        Returns:
            ``log_prob`` and ``entropy``, each ``(N, n_layers)`` in nats, of each layer's action given the past; nothing
            where the agent has no distribution over actions.
        """
        return {}


class _Completed(BaseAgent):
    """An agent of a user's, with the defaults of what it leaves out."""

    def __init__(self, agent: AgentLike) -> None:
        self._agent = agent
        self.name = name_of(agent)
        for name in ("output", "config_overrides", "check_env", "check_layers", "describe"):
            if hasattr(agent, name):
                setattr(self, name, getattr(agent, name))

    def act(self, observations: NDArray[np.float32], state: Any, deterministic: bool) -> tuple[NDArray[Any], Any]:
        return self._agent.act(observations, state, deterministic)


def name_of(agent: AgentLike) -> str:
    """What an agent is called: its own name, or that of its class."""
    return getattr(agent, "name", type(agent).__name__)


def completed(agent: AgentLike) -> BaseAgent:
    """The agent with all that evaluation asks; itself, if it derives from :class:`BaseAgent`."""
    return agent if isinstance(agent, BaseAgent) else _Completed(agent)


def settings_for(agent: AgentLike, config: EnvConfig, **settings: Any) -> EnvConfig:
    """The settings that an agent is run with.

    Args:
        agent: The agent.
        config: Settings of everyone.
        **settings: Others, which count for more than those of everyone and less than those of the agent.

    Raises:
        ConfigError: If the agent sets what all agents have in common, or the settings cannot work.
    """
    overrides = completed(agent).config_overrides
    allowed = OVERRIDABLE | ({"window"} if overrides.get("windows", "fixed") != "fixed" else set())
    others = [key for key in overrides if key not in allowed]
    if others:
        names = ", ".join(shortened(key, 40) for key in others[:3])
        raise ConfigError(
            f"config_overrides sets {names}, which all agents of a comparison have in common; set it for all of them, "
            "in the settings of the environment."
        )
    return replace(config, **{**settings, **overrides})
