"""What an agent is: a few methods, so that learned policies and hand-made schedules are run by the same code."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l2o_env.evaluation.agent import BaseAgent
from l2o_env.vector_env import Syn2RealVectorEnv

if TYPE_CHECKING:
    from typing_extensions import Self

Record = dict[str, Any]
"""What a training tells of a batch of episodes; see :meth:`Learner.learn`."""
Boundary = Callable[[Callable[[], dict[str, Any]]], None]
"""Is told that a training can be cut off here, by a function that gives the state to go on from."""


class Hooks(NamedTuple):
    """What a training tells, and where it goes on; see :meth:`Learner.learn`."""

    callback: Callable[[Record], None]
    on_boundary: Boundary
    resume: Mapping[str, Any] | None


class Agent(BaseAgent):
    """Maps observations to actions, has a name, can be saved, and is asked by Stable-Baselines3's ``predict`` too."""

    name: str
    """As tables and pictures call it."""
    action_settings: Mapping[str, Any] = MappingProxyType({})
    """Settings of the environment that its actions were trained with; see :func:`l2o_env.action.action_settings`."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes the agent to a folder, without pickle."""

    def __repr__(self) -> str:
        """Its class and name, the form of its actions and how long it was trained, as far as it says so."""
        said = {"name": getattr(self, "name", None), "action": self.action_settings.get("action")}
        said["episodes"] = getattr(self, "episodes", None)
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in said.items() if v is not None)})"

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


class Learner(Agent):
    """An agent that learns from a population."""

    episodes: int
    """Episodes that it was trained for, over all optimizees."""

    def learn(
        self,
        venv: Syn2RealVectorEnv,
        episodes: int,
        *,
        pairs: Sequence[str] | None = None,
        callback: Callable[[Record], None] | None = None,
        resume: Mapping[str, Any] | None = None,
        on_boundary: Boundary | None = None,
    ) -> Self:
        """Trains on a population; calling it again goes on from the policy there is.

        Args:
            venv: The population, with the auto-reset mode ``NEXT_STEP``.
            episodes: Episodes to train for, over all optimizees; a multiple of their number, or rounded up to one.
            pairs: Pairs that an agent which picks them itself goes through in turn, each time in a new order; None
                leaves the choice to the environment.
            callback: Called after each batch of episodes with a record of it: ``return_mean``, ``return_std``,
                ``value_mean``, ``diverged``, ``pair``, ``episode`` (those so far), ``seconds``, and what else the
                algorithm tells. It may raise ``KeyboardInterrupt``: the policy is as the last update left it.
            resume: What `on_boundary` gave in a training that was cut off. With an agent and a population of the same
                settings, and the same arguments, training goes on there as if nothing had happened, bit for bit on
                the CPU; records that came before are not given again.
            on_boundary: Called wherever a training can be cut off, after the records up to there, with a function that
                gives its state: plain values, arrays and tensors. It may raise ``KeyboardInterrupt``.

        Returns:
            Itself.

        Raises:
            ConfigError: If the policy does not run on the population's networks, or observations or actions there
                mean something else than the policy was made for.
        """
        self.check_env(venv.config)
        self.check_layers(len(venv.layer_names))
        hooks = Hooks(callback or (lambda record: None), on_boundary or (lambda get_state: None), resume)
        self._train(venv, episodes, pairs or (), hooks)
        return self

    @abstractmethod
    def _train(self, venv: Syn2RealVectorEnv, episodes: int, pairs: Sequence[str], hooks: Hooks) -> None:
        """What :meth:`learn` does once it is clear that the policy fits the population."""

    def get_state(self) -> dict[str, Any]:
        """All that its actions and its further training depend on, random streams included."""
        raise NotImplementedError(f"A training of {type(self).__name__} cannot be gone on with.")

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes up a state that :meth:`get_state` returned, here or in an agent of the same settings."""
        raise NotImplementedError(f"A training of {type(self).__name__} cannot be gone on with.")
