"""Observations that say how much of the budget is used up, and the rates that an opponent sets for them."""

from __future__ import annotations

import numpy as np

from l2o_env.evaluation.agent import AgentLike
from l2o_env.observation import FEATURE_NAMES, N_FEATURES


def observations(progress: list[float], n_layers: int = 3) -> np.ndarray:
    layers = np.zeros((len(progress), n_layers, N_FEATURES), np.float32)
    layers[:, :, FEATURE_NAMES.index("progress")] = np.array(progress)[:, None]
    return layers.reshape(len(progress), -1)


def rates(agent: AgentLike, progress: list[float], n_layers: int = 3) -> np.ndarray:
    return np.asarray(agent.act(observations(progress, n_layers), None, True)[0])
