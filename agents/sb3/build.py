"""Builds the algorithms of Stable-Baselines3 and sb3-contrib from our settings."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from l2o_env.action import N_FACTORS, action_space
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.observation import observation_space

from ..algorithms.registry import find
from ..algorithms.sb3_config import (
    ARSConfig,
    DDPGConfig,
    DQNConfig,
    OffPolicyConfig,
    OnPolicyConfig,
    RecurrentPPOConfig,
    SB3Config,
    TD3Config,
    TQCConfig,
)
from . import shared_policies
from .population_ars import PopulationARS

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn


_OURS = frozenset({
    "learning_rate", "final_learning_rate", "layer_shared", "net_arch", "activation", "normalize_observations",
    "normalize_reward", "clip_observation", "log_std_init", "noise_std", "noise_correlation", "lstm_hidden_size",
    "max_jump", "n_quantiles", "n_critics",
})  # fmt: skip
"""Settings that are not passed on by their name."""
_SHARED_POLICIES = {
    "ppo": shared_policies.SharedActorCriticPolicy,
    "a2c": shared_policies.SharedActorCriticPolicy,
    "trpo": shared_policies.SharedActorCriticPolicy,
    "maskable_ppo": shared_policies.SharedMaskablePolicy,
    "sac": shared_policies.SharedSACPolicy,
    "tqc": shared_policies.SharedTQCPolicy,
    "crossq": shared_policies.SharedCrossQPolicy,
    "td3": shared_policies.SharedTD3Policy,
    "ddpg": shared_policies.SharedTD3Policy,
    "ars": shared_policies.SharedARSPolicy,
    "dqn": "MlpPolicy",  # its features are pooled over the layers instead
}
_SMALLEST: dict[type[SB3Config], dict[str, Any]] = {
    OnPolicyConfig: {"n_steps": 2, "batch_size": None},
    OffPolicyConfig: {"buffer_size": 1},
    ARSConfig: {"n_delta": None, "n_top": None},
}
"""Settings of what an algorithm collects in training, at the least that SB3 takes: for a policy alone."""


def build(algorithm: str, config: SB3Config, env: VecEnv, n_steps: int) -> BaseAlgorithm:
    """An algorithm with a fresh policy.

    Args:
        algorithm: Its name in ``agents.algorithms.registry``.
        config: Its settings.
        env: The environment.
        n_steps: Environment steps of an episode.

    Raises:
        ConfigError: If settings do not go together with the number of optimizees.
    """
    keywords = {key: value for key, value in asdict(config).items() if key not in _OURS}
    rate, share = config.learning_rate, config.final_learning_rate
    keywords["learning_rate"] = lambda remaining: rate * (share + (1 - share) * remaining)
    if isinstance(config, OnPolicyConfig):
        keywords["n_steps"] = steps = config.n_steps or n_steps
        if "batch_size" in keywords:
            keywords["batch_size"] = keywords["batch_size"] or _quarter(steps * env.num_envs)
    elif isinstance(config, ARSConfig):
        keywords["n_delta"] = config.n_delta or max(env.num_envs // 2, 1)
        if 2 * keywords["n_delta"] % env.num_envs:
            raise ConfigError(
                f"ars tries n_delta {keywords['n_delta']} directions in both senses, and {env.num_envs} optimizees "
                "cannot share them evenly; give an even number of optimizees and n_delta a multiple of its half."
            )
    if "use_sde" in keywords:
        keywords["use_sde"] &= isinstance(env.action_space, spaces.Box)
    if isinstance(config, TD3Config | DDPGConfig):
        keywords["action_noise"] = _noise(config, env.action_space)
    cls = PopulationARS if algorithm == "ars" else _load(find(algorithm).path)
    return cls(_policy(algorithm, config), env, policy_kwargs=_policy_keywords(config), device="cpu", **keywords)


def new_policy(algorithm: str, config: SB3Config, env_config: EnvConfig, n_layers: int) -> BasePolicy:
    """A fresh policy of an algorithm, which nothing has to be simulated for.

    Args:
        algorithm: Its name in ``agents.algorithms.registry``.
        config: Its settings.
        env_config: Settings of the environment: the action form.
        n_layers: Number of layer groups.

    Raises:
        ConfigError: If the algorithm has no policy as the settings want it.
    """
    smallest = {
        key: value
        for kind, settings in _SMALLEST.items()
        if isinstance(config, kind)
        for key, value in settings.items()
        if hasattr(config, key)
    }
    bare = _Spaces(env_config, n_layers, find(algorithm).shared_factor)
    return build(algorithm, replace(config, **smallest), bare, n_steps=2).policy


def require_widths(tensors: Mapping[str, Tensor], config: SB3Config) -> None:
    """Checks that a saved policy has the layers that its settings name, before networks of such sizes are built.

    Args:
        tensors: Those of the policy.
        config: Its settings.

    Raises:
        ValueError: If layers are not there.
    """
    shapes = Counter(tuple(tensor.shape) for tensor in tensors.values())
    critics = getattr(config, "n_critics", 1)
    needed = Counter((after, before) for before, after in pairwise(config.net_arch))
    missing: list[tuple[int, ...]] = [shape for shape, n in needed.items() if critics * n > shapes[shape]]
    sizes = {size for shape in shapes for size in shape}
    width = getattr(config, "lstm_hidden_size", None)
    missing += [] if width is None or shapes[4 * width, width] else [(4 * width, width)]
    quantiles = (config.n_quantiles,) if isinstance(config, TQCConfig) else ()
    missing += [(size,) for size in (*config.net_arch, *quantiles) if size not in sizes]
    if missing or critics > len(tensors):
        raise ValueError(f"there are too few tensors of the shape {missing[0] if missing else critics}")


class _Spaces(VecEnv):
    """Spaces without an environment: all that a policy is built from."""

    def __init__(self, env_config: EnvConfig, n_layers: int, shared_factor: bool) -> None:
        actions = spaces.Discrete(N_FACTORS) if shared_factor else action_space(env_config, n_layers)
        super().__init__(1, observation_space(n_layers), actions)

    def _nothing(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("There is no environment behind these spaces.")

    reset = step_async = set_attr = env_method = _nothing

    def step_wait(self) -> VecEnvStepReturn:
        """There is none."""
        return self._nothing()

    def close(self) -> None:
        """Nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """None, for the render mode."""
        return [None]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """False."""
        return [False]


def _quarter(total: int) -> int:
    """The largest divisor up to a quarter, so that no minibatch is shorter than the others."""
    return next((size for size in range(total // 4, 1, -1) if total % size == 0), total)


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _policy(algorithm: str, config: SB3Config) -> Any:
    if config.layer_shared and algorithm in _SHARED_POLICIES:
        return _SHARED_POLICIES[algorithm]
    if config.layer_shared:
        fitting = ", ".join(_SHARED_POLICIES)
        raise ConfigError(f"layer_shared=true is not there for {algorithm}; it goes with {fitting}.")
    return "MlpLstmPolicy" if isinstance(config, RecurrentPPOConfig) else "MlpPolicy"


def _policy_keywords(config: SB3Config) -> dict[str, Any]:
    keywords: dict[str, Any] = {
        "net_arch": list(config.net_arch),
        "activation_fn": {"tanh": nn.Tanh, "relu": nn.ReLU}[config.activation],
    }
    if hasattr(config, "log_std_init"):
        keywords["log_std_init"] = config.log_std_init
    if isinstance(config, RecurrentPPOConfig):
        keywords["lstm_hidden_size"] = config.lstm_hidden_size
    if isinstance(config, TQCConfig):
        keywords |= {"n_quantiles": config.n_quantiles, "n_critics": config.n_critics}
    if config.layer_shared and isinstance(config, DQNConfig):
        keywords["features_extractor_class"] = shared_policies.PooledLayers
    return keywords


def _noise(config: TD3Config | DDPGConfig, actions: spaces.Space) -> OrnsteinUhlenbeckActionNoise:
    """Noise whose stationary standard deviation and correlation between two steps are those of the settings."""
    zeros, rho = np.zeros(actions.shape or ()), config.noise_correlation
    sigma = config.noise_std * np.sqrt(1 - rho**2) * np.ones_like(zeros)
    return OrnsteinUhlenbeckActionNoise(zeros, sigma, theta=1 - rho, dt=1.0)
