"""ASG's policy as an agent: acts as the released one, is trained by REINFORCE, saved without pickle."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.action import N_FACTORS
from l2o_env.asg import ASG
from l2o_env.config import EnvConfig, renamed
from l2o_env.errors import ConfigError, require_integer, shortened
from l2o_env.models.base import new_generator
from l2o_env.safe_json import as_object

from ..algorithms.reinforce_config import PRESETS, ReinforceConfig
from ..options import override
from ..policy_files import reading_policy, require_shape, write_policy
from ..reinforce.advantages import advantages_of
from ..reinforce.population_learner import PopulationLearner, Segment
from .policy import N_SCALARS, AsgPolicy, Memory

MECHANISM = ("observation", "action", "windows", "optimizer", "clip_norm", "lr_curve", "base_lr")
"""Settings of the environment that give the policy's observations and actions their meaning."""
RECIPE = ("base_lr", "window", "optimizer", "clip_norm", "lr_curve")
"""Settings in which ASG's own recipes differ; a policy keeps those that it was made for."""


class AsgAgent(PopulationLearner):
    """The policy of the released ASG.

    Actions are *sampled* whenever it acts, also at test time, as in the released code: `deterministic` changes
    nothing. Evaluation runs it in an environment with ASG's observations, actions, windows and update rule, whatever
    the others run in (``config_overrides``).

    Args:
        env_config: Settings of the environment, of which the policy keeps those of ``RECIPE``; the others are those of
            ``l2o_env.asg.ASG``.
        config: Settings of the algorithm.
        n_layers: Number of layer groups; it has a head for each.
        seed: Seed of the initial weights and of the actions.
        name: As tables and pictures call it.
        memoryless: See :class:`agents.asg.policy.AsgPolicy`.
    """

    def __init__(
        self,
        env_config: EnvConfig,
        *,
        config: ReinforceConfig = PRESETS["asg"],
        n_layers: int,
        seed: int = 0,
        name: str = "asg",
        memoryless: bool = True,
    ) -> None:
        self.name, self.config = name, config
        self.config_overrides = {**ASG, **{key: getattr(env_config, key) for key in RECIPE}}
        self.generator = new_generator(seed)
        self.policy = AsgPolicy(n_layers, memoryless, self.generator)
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.SGD(self.policy.parameters(), lr=config.learning_rate, momentum=0.9)
            if config.optimizer == "sgd"
            else torch.optim.Adam(self.policy.parameters(), lr=config.learning_rate)
        )
        self.episodes = self.timesteps = 0

    def act(
        self, observations: NDArray[np.float32], state: Memory | None, deterministic: bool = False
    ) -> tuple[NDArray[np.int64], Memory]:
        """Draws factors ``(N, n_layers)`` for observations ``(N, 5 + n_layers)``."""
        logits, state = self._logits(observations, state)
        drawn = torch.multinomial(logits.softmax(-1).flatten(0, 1), 1, generator=self.generator)
        return drawn.view(logits.shape[:-1]).numpy(), state

    @torch.no_grad()
    def _logits(self, observations: NDArray[np.float32], state: Memory | None) -> tuple[Tensor, Memory]:
        self.check_layers(observations.shape[-1] - N_SCALARS)
        state = state or self.policy.initial_state(len(observations))
        logits, state = self.policy(torch.from_numpy(observations)[None], state)
        return logits[0], state

    def describe(
        self, observations: NDArray[np.float32], state: Memory | None, actions: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        """``log_prob`` and ``entropy`` of each layer's action, in nats."""
        distribution = torch.distributions.Categorical(logits=self._logits(observations, state)[0])
        log_prob, entropy = distribution.log_prob(torch.as_tensor(actions)), distribution.entropy()
        return {"log_prob": log_prob.double().numpy(), "entropy": entropy.double().numpy()}

    def forget(self, state: Memory, rows: NDArray[np.bool_]) -> Memory:
        """The state in which some rows are as at the start of an episode; see :meth:`agents.base.Agent.forget`."""
        keep = torch.as_tensor(~rows)[:, None]
        return Memory(state.h * keep, state.c * keep)

    def update(self, segment: Segment) -> dict[str, float]:
        """One step of the policy's optimizer; returns its log."""
        observations, rewards = np.stack(segment.observations), np.stack(segment.rewards)
        actions, alive = np.stack(segment.actions), np.stack(segment.alive)
        begin = segment.state or self.policy.initial_state(alive.shape[1])
        logits, _ = self.policy(torch.from_numpy(observations), begin)
        distribution = torch.distributions.Categorical(logits=logits)
        counts = torch.from_numpy(alive)
        advantages = advantages_of(torch.from_numpy(rewards), counts, self.config).float()
        weight = counts / counts.sum()
        policy_loss = -(advantages * distribution.log_prob(torch.from_numpy(actions)).sum(-1) * weight).sum()
        entropy = (distribution.entropy().sum(-1) * weight).sum()
        self.optimizer.zero_grad()
        (policy_loss - self.config.ent_coef * entropy).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        return {
            "policy_loss": policy_loss.item(),
            "entropy": entropy.item() / self.policy.n_groups,
            "grad_norm": norm.item(),
        }

    def check_layers(self, n_layers: int) -> None:
        """Raises ConfigError unless it has a head for each layer group."""
        if n_layers != self.policy.n_groups:
            raise ConfigError(
                f"This policy has heads for {self.policy.n_groups} layer groups and got {n_layers}; ASG's form runs "
                "only on networks of as many."
            )

    def check_env(self, env_config: EnvConfig) -> None:
        """Raises ConfigError unless observations and actions mean what they mean to this policy."""
        differing = [
            f"{key} is {getattr(env_config, key)!r} and not {self.config_overrides[key]!r}"
            for key in MECHANISM
            if key in self.config_overrides and getattr(env_config, key) != self.config_overrides[key]
        ]
        if differing:
            raise ConfigError(
                f"The environment does not fit this policy of ASG's form: {', '.join(differing)}. Make it with these."
            )

    def save(self, folder: Path) -> None:
        """Writes ``policy.safetensors`` and ``policy.json``."""
        description = {
            "agent": "asg",
            "name": self.name,
            "n_layers": self.policy.n_groups,
            "memoryless": self.policy.memoryless,
            "settings": self.config_overrides,
            "episodes": self.episodes,
            "config": asdict(self.config),
        }
        write_policy(folder, description, self.policy.state_dict())

    @classmethod
    def load(cls, folder: Path) -> AsgAgent:
        """Reads a policy that :meth:`save` wrote; nothing in the files is executed.

        Raises:
            ConfigError: If the folder holds no policy, or a damaged one.
        """
        with reading_policy(folder) as (description, tensors):
            n_layers = require_integer("n_layers", description["n_layers"])
            require_shape(tensors, f"heads.{n_layers - 1}.bias", N_FACTORS)
            if not isinstance(description["memoryless"], bool):
                raise ValueError(f"memoryless is {shortened(description['memoryless'])}")
            agent = cls(
                EnvConfig(**ASG),
                config=override(PRESETS["asg"], as_object(description["config"])),
                n_layers=n_layers,
                name=description["name"],
                memoryless=description["memoryless"],
            )
            # As they are in the file, which may lack settings that are younger than it.
            settings = renamed(as_object(description["settings"]))
            if not settings.keys() <= {*ASG, *RECIPE}:  # such as pairs, which can name code that is run
                raise ConfigError(
                    f"The policy in {folder} sets more of the environment than ASG's may: {', '.join((*ASG, *RECIPE))}."
                )
            agent.config_overrides = {**ASG, **settings}
            EnvConfig.from_saved(agent.config_overrides)  # says what cannot work
            agent.policy.load_state_dict(tensors)
            agent.episodes = require_integer("episodes", description["episodes"], 0)
        return agent
