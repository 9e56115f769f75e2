"""Running mean and variance of the observation, as Stable-Baselines3's ``VecNormalize`` takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.running_mean_std import RunningMeanStd

from l2o_env.observation import FEATURES, N_FEATURES, split_layers

_PRIOR_COUNT = 100.0
"""Rows that the declared bounds of the features count for in their statistics, so that the first actions see sane
inputs too."""


class FeatureStatistics(RunningMeanStd):
    """Running mean and variance of the observation, which start from the declared bounds of the features.

    Args:
        n_layers: Number of layer groups.
        shared: Whether a feature has the same statistics on all layers. With statistics of its own, each layer would
            lose what tells it apart from the others, such as its depth.
    """

    def __init__(self, n_layers: int, shared: bool) -> None:
        super().__init__(shape=(n_layers * N_FEATURES,))
        self.n_layers, self.shared = n_layers, shared
        low, high = (np.array([getattr(f, side) for f in FEATURES], np.float64) for side in ("low", "high"))
        self.mean = np.tile((low + high) / 2, n_layers)
        self.var = np.tile(((high - low) / 4) ** 2, n_layers)
        self.count = _PRIOR_COUNT

    def update(self, arr: NDArray[np.float32]) -> None:
        """Takes in observations ``(N, n_layers * n_features)``."""
        if not self.shared:
            super().update(arr.astype(np.float64))
            return
        rows = split_layers(arr).reshape(-1, N_FEATURES).astype(np.float64)
        mean, var = (np.tile(moment, self.n_layers) for moment in (rows.mean(0), rows.var(0)))
        self.update_from_moments(mean, var, len(rows))

    def get_state(self) -> dict[str, Any]:
        """Mean, variance and count."""
        return {"mean": self.mean.copy(), "var": self.var.copy(), "count": float(self.count)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes up a state that :meth:`get_state` returned."""
        self.mean, self.var, self.count = state["mean"].copy(), state["var"].copy(), state["count"]

    def normalise(self, observations: NDArray[np.float32], clip: float) -> NDArray[np.float32]:
        """Observations of any number of layers, if the statistics are shared; they are not updated."""
        repeats = observations.shape[-1] // N_FEATURES if self.shared else 1
        size = N_FEATURES if self.shared else len(self.mean)
        mean, std = (np.tile(x[:size], repeats) for x in (self.mean, np.sqrt(self.var + 1e-8)))
        return np.clip((observations - mean) / std, -clip, clip).astype(np.float32)
