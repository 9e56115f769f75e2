"""Turns what happens in a training by Stable-Baselines3 into the records that every algorithm gives."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from l2o_env.vector_env import Syn2RealVectorEnv

from ..base import Hooks, Learner
from .training_state import get_training_state, set_training_state


class RecordCallback(BaseCallback):
    """Gives a record whenever each optimizee has made as many steps as an episode has, and ends training on time.

    Args:
        agent: Whose training it is; its count of episodes is kept up to date.
        steps: Environment steps of the training, over all optimizees.
        n_steps: Those of an episode.
        hooks: Its `callback` takes the records: ``return_mean``, ``return_std``, ``value_mean`` and ``diverged`` of the
            episodes that have ended since the last one, ``pair``, ``episode``, ``seconds``, and what SB3 logs about
            training. Boundaries are the starts of rollouts; the first is where a training that was cut off goes on.
    """

    def __init__(self, agent: Learner, steps: int, n_steps: int, hooks: Hooks) -> None:
        super().__init__()
        self._agent, self._steps, self._n_steps, self._hooks = agent, steps, n_steps, hooks
        self._resume = hooks.resume
        self._before = agent.episodes
        self._started = time.perf_counter()
        self._ended: list[tuple[float, float, bool, str]] = []
        self._totals = np.zeros(0)

    def _on_training_start(self) -> None:
        self._totals = np.zeros(self.training_env.num_envs)

    def _on_rollout_start(self) -> None:
        if self._resume is not None:
            state, self._resume = self._resume, None
            self._set_state(state)
        elif self.num_timesteps:
            self._hooks.on_boundary(self._get_state)

    def _get_state(self) -> dict[str, Any]:
        return {
            "agent": self._agent.get_state(),
            "model": get_training_state(self.model),
            "population": self._population.get_state(),
            "before": self._before,
            "seconds": time.perf_counter() - self._started,
            "totals": self._totals.copy(),
            "ended": list(self._ended),
        }

    def _set_state(self, state: Mapping[str, Any]) -> None:
        self._population.set_state(state["population"])
        set_training_state(self.model, state["model"])
        self.num_timesteps = self.model.num_timesteps
        self._before, self._totals, self._ended = state["before"], state["totals"].copy(), list(state["ended"])
        self._started = time.perf_counter() - state["seconds"]
        self._agent.set_state(state["agent"])  # last, because the others may have drawn

    @property
    def _population(self) -> Syn2RealVectorEnv:
        """The population inside the wrappers."""
        return self.training_env.unwrapped.population  # type: ignore[attr-defined]

    def _on_step(self) -> bool:
        # VecNormalize is the outermost wrapper; records are about the rewards themselves.
        assert isinstance(self.training_env, VecNormalize)
        self._totals += self.training_env.get_original_reward()
        pairs = self._population.config.pairs
        for i, (info, done) in enumerate(zip(self.locals["infos"], self.locals["dones"], strict=True)):
            if done:
                self._ended.append((self._totals[i], float(info["value"]), bool(info["diverged"]), pairs[info["pair"]]))
                self._totals[i] = 0.0
        per_batch = self._n_steps * self.training_env.num_envs
        if self.num_timesteps % per_batch == 0:
            self._agent.episodes = self._before + self.num_timesteps // self._n_steps
            self._give_record()
        return self.num_timesteps < self._steps or self._completes_rollout()

    def _completes_rollout(self) -> bool:
        """Whether SB3 has now all that its last update needs; to stop it here would waste that."""
        model: Any = self.model
        if isinstance(model, OnPolicyAlgorithm):
            return self.num_timesteps % (model.n_steps * model.n_envs) == 0
        if isinstance(model, OffPolicyAlgorithm):
            return self.num_timesteps % (model.train_freq.frequency * model.n_envs) == 0  # type: ignore[union-attr]
        return False

    def _give_record(self) -> None:
        logged = {key: float(value) for key, value in self.logger.name_to_value.items() if _is_number(value)}
        self.logger.dump(self.num_timesteps)  # to no output; it begins new averages
        ended, self._ended = self._ended, []
        if not ended:
            return
        returns, values = np.array([row[0] for row in ended]), np.array([row[1] for row in ended])
        self._hooks.callback({
            "return_mean": float(returns.mean()),
            "return_std": float(returns.std()),
            "value_mean": float(values.mean()),
            "diverged": int(sum(row[2] for row in ended)),
            "pair": "+".join(sorted({row[3] for row in ended})),
            "episode": self._agent.episodes,
            "seconds": time.perf_counter() - self._started,
            "time/total_timesteps": self.num_timesteps,
            **logged,
        })  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
