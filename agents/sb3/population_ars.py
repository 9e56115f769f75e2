"""Augmented random search whose candidates run side by side, each in an optimizee of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import ARS
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn


class PopulationARS(ARS):
    """ARS that runs its candidates side by side, one in each optimizee.

    On optimizees with common random numbers the candidates differ by their weights alone. Needs a number of
    candidates (twice `n_delta`) that is a multiple of the number of optimizees.
    """

    def _do_one_update(self, callback: BaseCallback, async_eval: Any) -> None:
        callback.on_rollout_start()  # before the directions are drawn, so that all is in the weights
        super()._do_one_update(callback, async_eval)

    def evaluate_candidates(
        self, candidate_weights: torch.Tensor, callback: BaseCallback, async_eval: Any
    ) -> torch.Tensor:
        """Undiscounted return of one episode of each candidate, ``(2 * n_delta,)``."""
        assert self.env is not None
        returns = torch.zeros(self.pop_size)
        for start in range(0, self.pop_size, self.env.num_envs):
            population = slice(start, start + self.env.num_envs)
            earned = self._side_by_side(candidate_weights[population], callback)
            if earned is None:
                return torch.zeros(self.pop_size)  # equal ones change nothing; the first populations' alone would
            returns[population] = torch.from_numpy(earned).float()
        callback.on_rollout_end()
        return returns

    def _side_by_side(self, weights: torch.Tensor, callback: BaseCallback) -> NDArray[np.float64] | None:
        assert self.env is not None
        observations: Any = self.env.reset()
        returns, running = np.zeros(self.env.num_envs), np.ones(self.env.num_envs, np.bool_)
        current = nn.utils.parameters_to_vector(self.policy.parameters()).detach().clone()
        try:
            while running.any():
                actions = []
                for candidate, row in zip(weights, observations, strict=True):
                    nn.utils.vector_to_parameters(candidate, self.policy.parameters())
                    actions.append(self.policy.predict(row, deterministic=True)[0])
                observations, rewards, dones, infos = self.env.step(np.stack(actions))
                self.num_timesteps += self.env.num_envs
                returns += np.where(running, rewards, 0.0)
                running &= ~dones
                callback.update_locals(locals())
                if not callback.on_step() and running.any():
                    return None
        finally:
            nn.utils.vector_to_parameters(current, self.policy.parameters())
        return returns
