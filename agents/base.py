"""What an agent is: a few methods, so that learned policies and hand-made schedules are run by the same code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from l2o_env.evaluation.rollout import AgentLike
from l2o_env.vector_env import Syn2RealVectorEnv


@runtime_checkable
class Agent(AgentLike, Protocol):
    """Maps observations to actions, for any number of optimizees at once; see ``AgentLike`` for :meth:`act`.

    An agent may also have an attribute ``config_overrides``: settings of the environment by name (fields of
    ``EnvConfig``) that evaluation runs it with, such as ``{"random_init": True}``, and methods ``check_env(config)``
    and ``check_layers(n_layers)`` that raise ``ConfigError`` where it cannot run. A method
    ``describe(observations, state, actions)`` tells recordings of the actions that :meth:`act` chose in a state:
    ``log_prob`` and ``entropy``, each ``(N, n_layers)`` in nats, of each layer's action given the past.
    """

    @property
    def name(self) -> str:
        """As tables and pictures call it."""
        ...

    def save(self, folder: Path) -> None:
        """Writes the agent to a folder, without pickle."""
        ...


@runtime_checkable
class Learner(Agent, Protocol):
    """An agent that learns from a population."""

    @property
    def episodes(self) -> int:
        """Episodes that it was trained for, over all optimizees."""
        ...

    def learn(
        self,
        venv: Syn2RealVectorEnv,
        episodes: int,
        *,
        pairs: Sequence[str] | None = None,
        callback: Callable[[dict[str, Any]], None] | None = None,
    ) -> Any:
        """Trains on a population.

        Args:
            venv: The population, with the auto-reset mode ``NEXT_STEP``.
            episodes: Episodes to train for, over all optimizees; a multiple of their number, or rounded up to one.
            pairs: Pairs that an agent which picks them itself is to go through in turn.
            callback: Called after each batch of episodes with a record of it: ``return_mean``, ``return_std``,
                ``value_mean``, ``diverged``, ``pair``, ``episode`` (those so far), ``seconds``, and what else the
                algorithm tells. It may raise ``KeyboardInterrupt``: the policy is as the last update left it.
        """
        ...


class Predictor(ABC):
    """Gives an agent Stable-Baselines3's ``predict`` on top of its own :meth:`act`."""

    @abstractmethod
    def act(self, observations: NDArray[np.float32], state: Any, deterministic: bool) -> tuple[NDArray[Any], Any]:
        """See ``AgentLike.act``."""

    def forget(self, state: Any, rows: NDArray[np.bool_]) -> Any:
        """The state in which some rows are as at the start of an episode.

        Args:
            state: What :meth:`act` returned; never None.
            rows: ``(N,)``, at least one of them True and one False.
        """
        raise NotImplementedError(f"{type(self).__name__} keeps a state and does not say how to forget parts of it.")

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], Any]:
        """Stable-Baselines3's form of :meth:`act`, for one observation or a batch.

        Args:
            observation: ``(n_layers * n_features,)`` or ``(N, n_layers * n_features)``.
            state: What the last call returned; None at the start of an episode.
            episode_start: ``(N,)``; rows whose episode begins here, so that their state is forgotten.
            deterministic: Whether to take the most likely action instead of a sample.

        Returns:
            What :meth:`act` chooses, ``(n_layers,)`` or ``(N, n_layers)``, and the state for the next call. An agent
            with ``output="rates"`` returns rates here too; ``l2o_env.action.encode`` makes `log` actions of them.
        """
        if state is not None and episode_start is not None:
            rows = np.atleast_1d(np.asarray(episode_start, np.bool_))
            if rows.all():
                state = None
            elif rows.any():
                state = self.forget(state, rows)
        chosen, state = self.act(np.atleast_2d(observation), state, deterministic)
        return (chosen[0] if np.ndim(observation) == 1 else chosen), state
