"""Builds the algorithms of Stable-Baselines3 and sb3-contrib from our settings."""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib import ARS
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from agents.algorithms.sb3_config import (
    ARSConfig,
    OffPolicyConfig,
    OnPolicyConfig,
    RecurrentPPOConfig,
    SB3Config,
    TQCConfig,
)
from agents.algorithms.table import find
from agents.sb3 import policies as sb3_policies
from l2o_env.action import N_FACTORS, action_space
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.observation import FEATURES, N_FEATURES, observation_space, split_layers

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn


_OURS = frozenset({
    "learning_rate", "final_learning_rate", "layer_shared", "net_arch", "activation", "normalize_observations",
    "normalize_reward", "clip_observation", "log_std_init", "noise_std", "noise_correlation", "lstm_hidden_size",
    "max_jump", "n_quantiles", "n_critics",
})  # fmt: skip
"""Settings that are not passed on by their name."""
_SHARED = {
    "ppo": sb3_policies.SharedActorCriticPolicy,
    "a2c": sb3_policies.SharedActorCriticPolicy,
    "trpo": sb3_policies.SharedActorCriticPolicy,
    "maskable_ppo": sb3_policies.SharedMaskablePolicy,
    "sac": sb3_policies.SharedSACPolicy,
    "tqc": sb3_policies.SharedTQCPolicy,
    "crossq": sb3_policies.SharedCrossQPolicy,
    "td3": sb3_policies.SharedTD3Policy,
    "ddpg": sb3_policies.SharedTD3Policy,
    "ars": sb3_policies.SharedARSPolicy,
    "dqn": "MlpPolicy",  # its features are pooled over the layers instead
}
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

    def normalise(self, observations: NDArray[np.float32], clip: float) -> NDArray[np.float32]:
        """Observations of any number of layers, if the statistics are shared; they are not updated."""
        repeats = observations.shape[-1] // N_FEATURES if self.shared else 1
        size = N_FEATURES if self.shared else len(self.mean)
        mean, std = (np.tile(x[:size], repeats) for x in (self.mean, np.sqrt(self.var + 1e-8)))
        return np.clip((observations - mean) / std, -clip, clip).astype(np.float32)


class PopulationARS(ARS):
    """ARS that runs its candidates side by side, one in each optimizee.

    On optimizees with common random numbers the candidates differ by their weights alone. Needs a number of
    candidates (twice `n_delta`) that is a multiple of the number of optimizees.
    """

    def evaluate_candidates(
        self, candidate_weights: torch.Tensor, callback: BaseCallback, async_eval: Any
    ) -> torch.Tensor:
        """Undiscounted return of one episode of each candidate, ``(2 * n_delta,)``."""
        assert self.env is not None
        returns = torch.zeros(self.pop_size)
        callback.on_rollout_start()
        for start in range(0, self.pop_size, self.env.num_envs):
            part = slice(start, start + self.env.num_envs)
            found = self._side_by_side(candidate_weights[part], callback)
            if found is None:
                return returns  # equal ones change nothing
            returns[part] = torch.from_numpy(found).float()
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


class OwnRandomness:
    """Random states of an agent's own: SB3 draws from the global generators, which nobody else may notice.

    Args:
        seed: Seed of all three generators (Python's, NumPy's, PyTorch's).
    """

    def __init__(self, seed: int) -> None:
        words = np.random.SeedSequence(seed).generate_state(3)
        self._python = random.Random(int(words[0])).getstate()
        self._numpy = np.random.RandomState(int(words[1])).get_state()
        self._torch = torch.Generator().manual_seed(int(words[2])).get_state()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Puts the agent's states in the place of the global ones, and everything back at the end of the block."""
        outside = random.getstate(), np.random.get_state(), torch.get_rng_state()
        self._restore(self._python, self._numpy, self._torch)
        try:
            yield
        finally:
            self._python, self._numpy = random.getstate(), np.random.get_state()
            self._torch = torch.get_rng_state()
            self._restore(*outside)

    @staticmethod
    def _restore(python: Any, numpy: Any, torch_state: torch.Tensor) -> None:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(torch_state)


class Spaces(VecEnv):
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


def build(algorithm: str, config: SB3Config, env: VecEnv, n_steps: int) -> BaseAlgorithm:
    """An algorithm with a fresh policy.

    Args:
        algorithm: Its name in ``agents.algorithms.table``.
        config: Its settings.
        env: The environment, or just its :class:`Spaces`.
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
            given = None if isinstance(env, Spaces) else keywords["batch_size"]  # SB3 warns of one that does not divide
            keywords["batch_size"] = given or _quarter(steps * env.num_envs)
    elif isinstance(config, ARSConfig):
        keywords["n_delta"] = config.n_delta or max(env.num_envs // 2, 1)
        if 2 * keywords["n_delta"] % env.num_envs and not isinstance(env, Spaces):
            raise ConfigError(
                f"ars tries n_delta {keywords['n_delta']} directions in both senses, and {env.num_envs} optimizees "
                "cannot share them evenly; give an even number of optimizees and n_delta a multiple of its half."
            )
    elif isinstance(env, Spaces):
        keywords["buffer_size"] = 1
    if "use_sde" in keywords:
        keywords["use_sde"] &= isinstance(env.action_space, spaces.Box)
    if hasattr(config, "noise_std"):
        keywords["action_noise"] = _noise(config, env.action_space)
    cls = PopulationARS if algorithm == "ars" else _load(find(algorithm).path)
    return cls(_policy(algorithm, config), env, policy_kwargs=_policy_keywords(config), device="cpu", **keywords)


def _quarter(total: int) -> int:
    """The largest divisor up to a quarter, so that no minibatch is shorter than the others."""
    return next((part for part in range(total // 4, 1, -1) if total % part == 0), total)


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _policy(algorithm: str, config: SB3Config) -> Any:
    if config.layer_shared and algorithm in _SHARED:
        return _SHARED[algorithm]
    if config.layer_shared:
        fitting = ", ".join(_SHARED)
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
    if config.layer_shared and isinstance(config, OffPolicyConfig) and hasattr(config, "exploration_fraction"):
        keywords["features_extractor_class"] = sb3_policies.PooledLayers
    return keywords


def _noise(config: Any, actions: spaces.Space) -> OrnsteinUhlenbeckActionNoise:
    """Noise whose stationary standard deviation and correlation between two steps are those of the settings."""
    zeros, rho = np.zeros(actions.shape or ()), config.noise_correlation
    sigma = config.noise_std * np.sqrt(1 - rho**2) * np.ones_like(zeros)
    return OrnsteinUhlenbeckActionNoise(zeros, sigma, theta=1 - rho, dt=1.0)
