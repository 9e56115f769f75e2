"""Agents of SB3's algorithms that learn in a few steps, and what they observe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from agents.algorithms import ALGORITHMS, SB3Config, configure
from agents.sb3 import SB3Agent
from l2o_env.observation import FEATURE_NAMES, FEATURES, N_FEATURES
from l2o_env.vector_env import Syn2RealVectorEnv

MakeVec = Callable[..., Syn2RealVectorEnv]
NAMES = [name for name, algorithm in ALGORITHMS.items() if isinstance(algorithm.config, SB3Config)]
SHARED = [name for name in NAMES if name != "recurrent_ppo"]
SMALL: dict[str, dict[str, Any]] = {
    **{key: {"learning_starts": 8, "batch_size": 8} for key in ("sac", "td3", "ddpg", "tqc", "crossq", "dqn")},
    **{key: {"n_epochs": 2} for key in ("ppo", "recurrent_ppo", "maskable_ppo")},
    "a2c": {"n_steps": 3},
}


def small_config(name: str) -> SB3Config:
    """Settings of an algorithm with which it learns from its first steps."""
    config = configure(name, SMALL.get(name, {}))
    assert isinstance(config, SB3Config)
    return config


def agent_and_venv(name: str, make_vec: MakeVec, seed: int = 0, n: int = 4, **config: Any) -> tuple[SB3Agent, Any]:
    form = ALGORITHMS[name].forms[0]
    venv = make_vec(n, action=form, common_random_numbers=ALGORITHMS[name].common_random_numbers, **config)
    venv.reset(seed=3)
    return SB3Agent(venv.config, algorithm=name, config=small_config(name), n_layers=3, seed=seed), venv


def observations(n: int = 2, n_layers: int = 3) -> np.ndarray:
    low, high = (np.array([getattr(f, side) for f in FEATURES]) for side in ("low", "high"))
    drawn = np.random.default_rng(0).uniform(size=(n, n_layers, N_FEATURES)) * (high - low) + low
    drawn[..., FEATURE_NAMES.index("lr")] = -2.0
    return drawn.reshape(n, -1).astype(np.float32)
