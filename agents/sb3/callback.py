"""Turns what happens in a training by Stable-Baselines3 into the records that every algorithm gives."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from agents.base import Learner, Record


class RecordCallback(BaseCallback):
    """Gives a record whenever each optimizee has made as many steps as an episode has, and ends training on time.

    Args:
        agent: Whose training it is; its count of episodes is kept up to date.
        steps: Environment steps of the training, over all optimizees.
        n_steps: Those of an episode.
        callback: Takes the records: ``return_mean``, ``return_std``, ``value_mean`` and ``diverged`` of the episodes
            that have ended since the last one, ``pair``, ``episode``, ``seconds``, and what SB3 logs about training.
    """

    def __init__(self, agent: Learner, steps: int, n_steps: int, callback: Callable[[Record], None]) -> None:
        super().__init__()
        self._agent, self._steps, self._n_steps, self._callback = agent, steps, n_steps, callback
        self._before = agent.episodes
        self._started = time.perf_counter()
        self._ended: list[tuple[float, float, bool, str]] = []
        self._totals = np.zeros(0)

    def _on_training_start(self) -> None:
        self._totals = np.zeros(self.training_env.num_envs)

    def _on_step(self) -> bool:
        # VecNormalize is the outermost wrapper; records are about the rewards themselves.
        assert isinstance(self.training_env, VecNormalize)
        self._totals += self.training_env.get_original_reward()
        for i, (info, done) in enumerate(zip(self.locals["infos"], self.locals["dones"], strict=True)):
            if done:
                self._ended.append((self._totals[i], info["value"], info["diverged"], info["pair"]))
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
        self._callback({
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
