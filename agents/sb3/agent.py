"""Algorithms of Stable-Baselines3 and sb3-contrib as agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecNormalize

from l2o_env.action import action_settings, check_action_settings
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError, require_integer, shortened
from l2o_env.observation import N_FEATURES
from l2o_env.safe_json import as_object
from l2o_env.vector_env import Syn2RealVectorEnv

from ..algorithms.registry import configure, find
from ..algorithms.sb3_config import MaskablePPOConfig, SB3Config
from ..base import Hooks, Learner
from ..policy_files import (
    check_features,
    observed_features,
    reading_policy,
    require_shape,
    tensors_under,
    write_policy,
)
from .build import build, new_policy, require_widths
from .callback import RecordCallback
from .describe import describe
from .feature_statistics import FeatureStatistics
from .masks import factor_masks, observed_rates
from .randomness import OwnRandomness
from .vec_env import PopulationVecEnv


class SB3Agent(Learner):
    """A policy that one of the algorithms of Stable-Baselines3 or sb3-contrib trains.

    Deterministic and sampled actions are the same for algorithms whose policy is deterministic (td3, ddpg, dqn, ars):
    they explore in training by noise that is no part of the policy.

    In training an optimizee that diverges starts its next episode at once. So that all algorithms get the same number
    of optimizer updates, training ends after as many environment steps as the wanted number of whole episodes has. Each
    optimizee draws its pair from those of the environment.

    Args:
        env_config: Settings of the environment: the action form and what its actions mean.
        algorithm: Its name in ``agents.algorithms.registry``.
        config: Settings of the algorithm; None takes its defaults.
        n_layers: Number of layer groups of the networks to train on.
        seed: Seed of the initial weights and of all that the algorithm draws. The global generators are left alone.
        name: As tables and pictures call it; None takes that of the algorithm.

    Raises:
        ConfigError: If the algorithm is unknown or does not go together with the action form or the settings.
    """

    def __init__(
        self,
        env_config: EnvConfig,
        *,
        algorithm: str,
        config: SB3Config | None = None,
        n_layers: int = 5,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        entry = find(algorithm, env_config.action)
        settings = entry.config if config is None else config
        if not isinstance(settings, type(entry.config)) or not isinstance(settings, SB3Config):
            raise ConfigError(
                f"Settings of {algorithm!r} are of type {type(entry.config).__name__}, for SB3Agent with the base "
                f"SB3Config; got {type(settings).__name__}."
            )
        self.name, self.algorithm, self.config, self.n_layers = name or algorithm, algorithm, settings, n_layers
        self.env_config = env_config
        self.action_settings = action_settings(env_config)
        self.shared_factor = entry.shared_factor
        self.statistics = FeatureStatistics(n_layers, settings.layer_shared)
        self.randomness = OwnRandomness(seed)
        self.policy = self._new_policy(n_layers)
        self.episodes = 0
        self._training = False  # whether its random states are in the place of the global ones
        self._others: dict[int, BasePolicy] = {}  # the policy on networks of other numbers of layer groups

    def _new_policy(self, n_layers: int) -> BasePolicy:
        with self.randomness():
            return new_policy(self.algorithm, self.config, self.env_config, n_layers)

    def act(self, observations: NDArray[np.float32], state: Any, deterministic: bool) -> tuple[NDArray[Any], Any]:
        """Chooses actions ``(N, ...)`` for observations ``(N, n_layers * n_features)``.

        Raises:
            ConfigError: If the networks have another number of layer groups, and the actor is not shared by them.
        """
        n, n_layers = len(observations), observations.shape[-1] // N_FEATURES
        policy, seen = self._policy_for(n_layers), self._normalised(observations)
        masks = self._masks(observations)
        with self.randomness():
            if getattr(policy, "use_sde", False):
                actions, state = self._act_noisily(policy, seen, state, deterministic)
            else:
                keywords: dict[str, Any] = {} if masks is None else {"action_masks": masks}
                if self.algorithm == "recurrent_ppo":
                    keywords["episode_start"] = np.full(n, state is None)
                actions, state = policy.predict(seen, state=state, deterministic=deterministic, **keywords)
        if self.shared_factor:
            actions = np.repeat(actions.reshape(n, 1), n_layers, axis=1)
        return actions, state

    def _normalised(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """The observations as the policy sees them; its statistics stay as they are."""
        if not self.config.normalize_observations:
            return observations
        return self.statistics.normalise(observations, self.config.clip_observation)

    def _masks(self, observations: NDArray[np.float32]) -> NDArray[np.bool_] | None:
        """Factors that a maskable policy may pick; None for other policies."""
        if not isinstance(self.config, MaskablePPOConfig):
            return None
        return factor_masks(observed_rates(observations), self.env_config.base_lr, self.config.max_jump)

    def describe(
        self, observations: NDArray[np.float32], state: Any, actions: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        """``log_prob`` and ``entropy`` of each layer's action in nats, if the policy has them."""
        if self.shared_factor:
            return {}
        policy = self._policy_for(observations.shape[-1] // N_FEATURES)
        return describe(policy, self._normalised(observations), state, actions, self._masks(observations))

    def forget(self, state: Any, rows: NDArray[np.bool_]) -> Any:
        """The state in which some rows are as at the start of an episode; see :meth:`agents.base.Agent.forget`."""
        if isinstance(state, torch.Tensor):  # weights of the exploration noise
            with self.randomness():
                fresh = self._draw_noise(self.policy, len(rows))
            return torch.where(torch.as_tensor(rows)[:, None, None], fresh, state)
        return tuple(np.where(rows[None, :, None], 0.0, memory) for memory in state)

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

    def _train(self, venv: Syn2RealVectorEnv, episodes: int, pairs: Sequence[str], hooks: Hooks) -> None:
        if len(venv.layer_names) != self.n_layers:  # a shared actor would do, but critics read the flat observation
            raise ConfigError(
                f"This policy is for networks of {self.n_layers} layer groups; those of the population have "
                f"{len(venv.layer_names)}."
            )
        env, n_steps = self._training_env(venv), venv.episodes.n_steps()
        steps = -(-episodes // venv.num_envs) * venv.num_envs * n_steps
        with self.randomness():
            model = build(self.algorithm, self.config, env, n_steps)
            # Actions before learning starts are drawn from the space, which has a generator of its own.
            model.action_space.seed(int(np.random.randint(2**31)))
            model.policy.load_state_dict(self.policy.state_dict())
            if hasattr(model, "weights"):  # ARS keeps a vector of them
                model.weights = torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()
            model.set_logger(Logger(folder=None, output_formats=[]))  # SB3's own would print
            self.policy, self._others = model.policy, {}
            recorder = RecordCallback(self, steps, n_steps, hooks)
            self._training = True
            try:
                model.learn(steps, callback=recorder, log_interval=None)  # type: ignore[arg-type]
            finally:
                self._training = False

    def get_state(self) -> dict[str, Any]:
        """See :meth:`agents.base.Learner.get_state`."""
        return {
            "policy": {name: tensor.clone() for name, tensor in self.policy.state_dict().items()},
            "statistics": self.statistics.get_state(),
            "randomness": self.randomness.get_state(),
            "episodes": self.episodes,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See :meth:`agents.base.Learner.set_state`."""
        self.policy.load_state_dict(state["policy"])
        self._others = {}
        self.statistics.set_state(state["statistics"])
        self.episodes = state["episodes"]
        self.randomness.set_state(state["randomness"], in_place=self._training)

    def _training_env(self, venv: Syn2RealVectorEnv) -> VecNormalize:
        """The population as SB3 trains on it, normalised by statistics that are the agent's own."""
        max_jump = self.config.max_jump if isinstance(self.config, MaskablePPOConfig) else None
        env = VecNormalize(
            PopulationVecEnv(venv, shared_factor=self.shared_factor, max_jump=max_jump),
            norm_obs=self.config.normalize_observations,
            norm_reward=getattr(self.config, "normalize_reward", False),
            clip_obs=self.config.clip_observation,
            gamma=getattr(self.config, "gamma", 1.0),
        )
        env.obs_rms = self.statistics  # type: ignore[assignment]
        return env

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
        check_action_settings(self.action_settings, env_config)

    def save(self, folder: Path) -> None:
        """Writes ``policy.safetensors`` (weights and statistics of the features) and ``policy.json``."""
        description = {
            "agent": "sb3",
            "algorithm": self.algorithm,
            "name": self.name,
            **observed_features(),
            "action": self.action_settings,
            "n_layers": self.n_layers,
            "episodes": self.episodes,
            "config": asdict(self.config),
        }
        tensors = {f"policy.{name}": tensor for name, tensor in self.policy.state_dict().items()}
        for name in ("mean", "var", "count"):
            tensors[f"normaliser.{name}"] = torch.as_tensor(getattr(self.statistics, name), dtype=torch.float64)
        write_policy(folder, description, tensors)

    @classmethod
    def load(cls, folder: Path) -> SB3Agent:
        """Reads a policy that :meth:`save` wrote; nothing in the files is executed.

        Raises:
            ConfigError: If the folder holds no policy, or one for other features.
        """
        with reading_policy(folder) as (description, tensors):
            check_features(folder, description)
            config = configure(str(description["algorithm"]), as_object(description["config"]))
            if not isinstance(config, SB3Config):
                raise ValueError(f"{shortened(description['algorithm'])} is no algorithm of Stable-Baselines3")
            n_layers = require_integer("n_layers", description["n_layers"])
            for name in ("mean", "var"):
                require_shape(tensors, f"normaliser.{name}", n_layers * N_FEATURES)
            require_widths(tensors, config)
            agent = cls(
                EnvConfig.from_saved(as_object(description["action"])),
                algorithm=description["algorithm"],
                config=config,
                n_layers=n_layers,
                name=description["name"],
            )
            agent.policy.load_state_dict(tensors_under("policy.", tensors))
            for name in ("mean", "var"):
                setattr(agent.statistics, name, tensors[f"normaliser.{name}"].numpy())
            agent.statistics.count = float(tensors["normaliser.count"])
            agent.episodes = require_integer("episodes", description["episodes"], 0)
        return agent
