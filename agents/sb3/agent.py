"""Algorithms of Stable-Baselines3 and sb3-contrib as agents, and our population as their environment.

Both are of use without each other: :class:`PopulationVecEnv` is an environment for any code that takes SB3's
``VecEnv``, and :class:`SB3Agent` is evaluated like any other agent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecNormalize

from agents.algorithms.sb3_config import MaskablePPOConfig, SB3Config
from agents.algorithms.table import configure, find
from agents.base import Predictor
from agents.policy_files import reading_policy, write_policy
from agents.sb3.build import FeatureStatistics, OwnRandomness, Spaces, build
from agents.sb3.callback import RecordCallback
from agents.sb3.describe import describe
from agents.sb3.vec_env import PopulationVecEnv, factor_masks, observed_rates
from l2o_env import observation
from l2o_env.action import ACTION_SETTINGS, check_settings
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.observation import N_FEATURES
from l2o_env.vector_env import Syn2RealVectorEnv

__all__ = ["PopulationVecEnv", "SB3Agent"]


class SB3Agent(Predictor):
    """A policy that one of the algorithms of Stable-Baselines3 or sb3-contrib trains.

    Deterministic and sampled actions are the same for algorithms whose policy is deterministic (td3, ddpg, dqn, ars):
    they explore in training by noise that is no part of the policy.

    Args:
        env_config: Settings of the environment: the action form, what its actions mean, steps of an episode.
        algorithm: Its name in ``agents.algorithms.table``.
        config: Settings of the algorithm; None takes its defaults.
        seed: Seed of the initial weights and of all that the algorithm draws. The global generators are left alone.
        n_layers: Number of layer groups of the networks to train on.
        name: As tables and pictures call it; None takes that of the algorithm.

    Raises:
        ConfigError: If the algorithm is unknown or does not go together with the action form or the settings.
    """

    output: Literal["action", "rates"] = "action"

    def __init__(
        self,
        env_config: EnvConfig,
        algorithm: str,
        config: SB3Config | None = None,
        seed: int = 0,
        n_layers: int = 5,
        name: str | None = None,
    ) -> None:
        found = find(algorithm, env_config.action)
        config = found.config if config is None else config  # type: ignore[assignment]
        if not isinstance(config, type(found.config)) or not isinstance(config, SB3Config):
            raise ConfigError(
                f"Settings of {algorithm!r} are of type {type(found.config).__name__}, for SB3Agent with the base "
                f"SB3Config; got {type(config).__name__}."
            )
        self.name, self.algorithm, self.config, self.n_layers = name or algorithm, algorithm, config, n_layers
        self.env_config = env_config
        self.action_settings = {key: getattr(env_config, key) for key in ACTION_SETTINGS}
        self.shared_factor = found.shared_factor
        self.statistics = FeatureStatistics(n_layers, config.layer_shared)
        self.randomness = OwnRandomness(seed)
        self.policy = self._new_policy(n_layers)
        self.episodes = 0
        self._others: dict[int, BasePolicy] = {}

    def _new_policy(self, n_layers: int) -> BasePolicy:
        bare = Spaces(self.env_config, n_layers, self.shared_factor)
        with self.randomness():
            return build(self.algorithm, self.config, bare, -(-self.env_config.budget // self.env_config.window)).policy

    def act(self, observations: NDArray[np.float32], state: Any, deterministic: bool) -> tuple[NDArray[Any], Any]:
        """Chooses actions ``(N, ...)`` for observations ``(N, n_layers * n_features)``; see ``agents.base``.

        Raises:
            ConfigError: If the networks have another number of layer groups, and the actor is not shared by them.
        """
        n, n_layers = len(observations), observations.shape[-1] // N_FEATURES
        policy = self._policy_for(n_layers)
        seen = observations
        if self.config.normalize_observations:
            seen = self.statistics.normalise(observations, self.config.clip_observation)
        more: dict[str, Any] = {}
        if isinstance(self.config, MaskablePPOConfig):
            rates = observed_rates(observations)
            more["action_masks"] = factor_masks(rates, self.env_config.base_lr, self.config.max_jump)
        with self.randomness():
            if getattr(policy, "use_sde", False):
                actions, state = self._act_noisily(policy, seen, state, deterministic)
            else:
                if self.algorithm == "recurrent_ppo":
                    more["episode_start"] = np.full(n, state is None)
                actions, state = policy.predict(seen, state=state, deterministic=deterministic, **more)
        if self.shared_factor:
            actions = np.repeat(actions.reshape(n, 1), n_layers, axis=1)
        return actions, state

    def describe(
        self, observations: NDArray[np.float32], state: Any, actions: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        """``log_prob`` and ``entropy`` of each layer's action, if the policy has them; see ``agents.base.Agent``."""
        if self.shared_factor:
            return {}
        seen, masks = observations, None
        if self.config.normalize_observations:
            seen = self.statistics.normalise(observations, self.config.clip_observation)
        if isinstance(self.config, MaskablePPOConfig):
            masks = factor_masks(observed_rates(observations), self.env_config.base_lr, self.config.max_jump)
        return describe(self._policy_for(observations.shape[-1] // N_FEATURES), seen, state, actions, masks)

    def forget(self, state: Any, rows: NDArray[np.bool_]) -> Any:
        """The state in which some rows are as at the start of an episode; see ``agents.base.Predictor``."""
        if isinstance(state, torch.Tensor):
            with self.randomness():
                fresh = self._draw_noise(self.policy, len(rows))
            return torch.where(torch.as_tensor(rows)[:, None, None], fresh, state)
        return tuple(np.where(rows[None, :, None], 0.0, part) for part in state)

    def _act_noisily(
        self, policy: Any, seen: NDArray[np.float32], state: torch.Tensor | None, deterministic: bool
    ) -> tuple[NDArray[Any], torch.Tensor]:
        """Actions of a policy with gSDE, whose own noise is left as it is: it may be in the middle of its training."""
        noise = policy.action_dist
        own = noise.exploration_mat, noise.exploration_matrices
        try:
            state = self._draw_noise(policy, len(seen)) if state is None else state
            noise.exploration_matrices = state
            return policy.predict(seen, deterministic=deterministic)[0], state
        finally:
            noise.exploration_mat, noise.exploration_matrices = own

    @staticmethod
    def _draw_noise(policy: Any, n: int) -> torch.Tensor:
        """Weights of the exploration noise of N episodes."""
        policy.reset_noise(n)
        return policy.action_dist.exploration_matrices.detach()

    def _policy_for(self, n_layers: int) -> BasePolicy:
        if n_layers == self.n_layers:
            return self.policy
        self.check_layers(n_layers)
        if n_layers not in self._others:
            policy = self._new_policy(n_layers)
            mine, theirs = self.policy.state_dict(), policy.state_dict()
            # The actor has the same shapes for any number of layers; the critics have not, and nobody asks them here.
            policy.load_state_dict({k: mine[k] if mine[k].shape == v.shape else v for k, v in theirs.items()})
            self._others[n_layers] = policy
        return self._others[n_layers]

    def learn(
        self,
        venv: Syn2RealVectorEnv,
        episodes: int,
        *,
        pairs: Sequence[str] | None = None,
        callback: Callable[[dict[str, Any]], None] | None = None,
    ) -> SB3Agent:
        """Trains on a population; calling it again goes on from the policy there is.

        An optimizee that diverges starts its next episode at once. So that all algorithms get the same number of
        optimizer updates, training ends after as many environment steps as `episodes` whole episodes have.

        Args:
            venv: The population, with the auto-reset mode ``NEXT_STEP``.
            episodes: Episodes to train for, over all optimizees; a multiple of their number, or rounded up to one.
            pairs: Not read: each optimizee draws its pair from those of the environment.
            callback: Called after each batch of episodes with a record of it. It may raise ``KeyboardInterrupt``: the
                policy is as the last update left it.

        Returns:
            Itself.

        Raises:
            ConfigError: If the population has another action form or number of layer groups than the policy.
        """
        self.check_env(venv.config)
        if len(venv.layer_names) != self.n_layers:
            raise ConfigError(
                f"This policy is for networks of {self.n_layers} layer groups; those of the population have "
                f"{len(venv.layer_names)}."
            )
        max_jump = self.config.max_jump if isinstance(self.config, MaskablePPOConfig) else None
        env = VecNormalize(
            PopulationVecEnv(venv, shared_factor=self.shared_factor, max_jump=max_jump),
            norm_obs=self.config.normalize_observations,
            norm_reward=getattr(self.config, "normalize_reward", False),
            clip_obs=self.config.clip_observation,
            gamma=getattr(self.config, "gamma", 1.0),
        )
        env.obs_rms = self.statistics  # type: ignore[assignment]
        n_steps = venv.episodes.n_steps()
        steps = -(-episodes // venv.num_envs) * venv.num_envs * n_steps
        with self.randomness():
            model = build(self.algorithm, self.config, env, n_steps)
            model.action_space.seed(int(np.random.randint(2**31)))
            model.policy.load_state_dict(self.policy.state_dict())
            if hasattr(model, "weights"):  # ARS keeps a vector of them
                model.weights = torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()
            model.set_logger(Logger(folder=None, output_formats=[]))
            self.policy, self._others = model.policy, {}
            recorder = RecordCallback(self, steps, n_steps, callback)
            model.learn(steps, callback=recorder, log_interval=None)  # type: ignore[arg-type]
        return self

    def check_layers(self, n_layers: int) -> None:
        """Raises ConfigError unless the policy runs on networks of so many layer groups."""
        if n_layers != self.n_layers and not self.config.layer_shared:
            raise ConfigError(
                f"This {self.algorithm} policy was trained on networks of {self.n_layers} layer groups and got one of "
                f"{n_layers}; only policies with layer_shared=true run on another number."
            )

    def check_env(self, env_config: EnvConfig) -> None:
        """Raises ConfigError unless observations and actions of the environment mean what they meant in training."""
        if env_config.observation != "layers":
            raise ConfigError(
                f"This policy reads the features of each layer group (observation='layers'); the environment has "
                f"observation={env_config.observation!r}. SB3's own algorithms run on it in a PopulationVecEnv."
            )
        check_settings(self.action_settings, {key: getattr(env_config, key) for key in ACTION_SETTINGS})

    def save(self, folder: Path) -> None:
        """Writes ``policy.safetensors`` (weights and statistics of the features) and ``policy.json``."""
        description = {
            "agent": "sb3",
            "algorithm": self.algorithm,
            "name": self.name,
            "observation_version": observation.VERSION,
            "features": list(observation.FEATURE_NAMES),
            "action": self.action_settings,
            "n_layers": self.n_layers,
            "episodes": self.episodes,
            "config": asdict(self.config),
        }
        write_policy(folder, description, self._tensors())

    def _tensors(self) -> dict[str, torch.Tensor]:
        named = {f"policy.{k}": v for k, v in self.policy.state_dict().items()}
        for key in ("mean", "var", "count"):
            named[f"normaliser.{key}"] = torch.as_tensor(getattr(self.statistics, key), dtype=torch.float64)
        return named

    @classmethod
    def load(cls, folder: Path) -> SB3Agent:
        """Reads a policy that :meth:`save` wrote; nothing in the files is executed.

        Raises:
            ConfigError: If the folder holds no policy, or one for other features.
        """
        with reading_policy(folder) as (description, tensors):
            if tuple(description.get("features", ())) != observation.FEATURE_NAMES:
                raise ConfigError(
                    f"The policy in {folder} expects the features {description.get('features')}; this version has "
                    f"{list(observation.FEATURE_NAMES)}. Use the version it was trained with."
                )
            return cls._rebuild(description, tensors)

    @classmethod
    def _rebuild(cls, description: dict[str, Any], tensors: dict[str, torch.Tensor]) -> SB3Agent:
        env_config = EnvConfig(**description["action"])
        config = configure(description["algorithm"], description["config"])
        assert isinstance(config, SB3Config)
        agent = cls(env_config, description["algorithm"], config, 0, description["n_layers"], description["name"])
        prefix = "policy."
        agent.policy.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        for key in ("mean", "var"):
            setattr(agent.statistics, key, tensors[f"normaliser.{key}"].numpy())
        agent.statistics.count = float(tensors["normaliser.count"])
        agent.episodes = int(description["episodes"])
        return agent
