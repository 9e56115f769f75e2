"""REINFORCE on a population of optimizees: the default agent."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.action import N_FACTORS, action_settings, check_action_settings
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError, require_integer
from l2o_env.models.base import new_generator
from l2o_env.observation import split_layers
from l2o_env.safe_json import as_object

from ..algorithms.reinforce_config import PRESETS, ReinforceConfig
from ..options import override
from ..policy_files import (
    check_features,
    observed_features,
    reading_policy,
    require_shape,
    tensors_under,
    write_policy,
)
from .advantages import advantages_of
from .policy import LayerPolicy
from .population_learner import PopulationLearner, Segment


class State(NamedTuple):
    """What a policy remembers within an episode.

    Attributes:
        hidden: Recurrent state ``(N, n_layers, hidden_size)``.
        noise: Last standardised noise ``(N, n_layers)``; None at the start of an episode.
    """

    hidden: Tensor
    noise: Tensor | None


class Reinforce(PopulationLearner):
    """A layer-shared recurrent policy, trained by REINFORCE (Williams, 1992).

    With Gaussian actions the exploration noise is an AR(1) process in time, whose exact log-probability is used:
    ``a_t = mu_t + sigma z_t`` with ``z_t = rho z_(t-1) + sqrt(1 - rho^2) xi_t``.

    Args:
        env_config: Settings of the environment: the action form and what its actions mean.
        config: Settings of the algorithm.
        n_layers: Number of layer groups; needed with `per_layer_heads`.
        seed: Seed of the initial weights and of the exploration noise.
        name: As tables and pictures call it.

    Raises:
        ConfigError: If `n_layers` is needed and not given.
    """

    def __init__(
        self,
        env_config: EnvConfig,
        *,
        config: ReinforceConfig = PRESETS["default"],
        n_layers: int | None = None,
        seed: int = 0,
        name: str = "reinforce",
    ) -> None:
        if config.per_layer_heads and n_layers is None:
            raise ConfigError("per_layer_heads needs the number of layer groups; pass n_layers.")
        self.name, self.config = name, config
        self.action_settings = action_settings(env_config)
        self.discrete = env_config.action == "discrete"
        self.generator = new_generator(seed)
        self.policy = LayerPolicy(
            n_outputs=N_FACTORS if self.discrete else 1,
            hidden_size=config.hidden_size,
            n_heads=n_layers if config.per_layer_heads else None,
            n_knots=config.n_knots,
            clip=config.clip_observation,
            generator=self.generator,
            sets_guidance=env_config.action == "log+guidance",
        )
        self.log_std = torch.nn.Parameter(torch.tensor(math.log(config.noise_std)))
        tables = [p for name, p in self.policy.named_parameters() if name.endswith("table")]
        network = [p for name, p in self.policy.named_parameters() if not name.endswith("table")]
        parameters: list[dict[str, Any]] = [
            {"params": tables, "scale": 1.0},
            {"params": [*network, self.log_std], "scale": config.network_scale},
        ]
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(parameters, lr=config.learning_rate)
            if config.optimizer == "adam"
            else torch.optim.SGD(parameters, lr=config.learning_rate, momentum=0.9)
        )
        self.episodes = self.timesteps = 0

    def act(
        self, observations: NDArray[np.float32], state: State | None, deterministic: bool
    ) -> tuple[NDArray[Any], State]:
        """Chooses actions for observations ``(N, n_layers * n_features)``; see ``AgentLike.act``.

        They are ``(N, n_layers)``, or one number more in the form ``log+guidance``.
        """
        outputs, hidden, last_noise = self._outputs(observations, state)
        if self.discrete:
            return self._act_discrete(outputs[0], deterministic), State(hidden, None)
        mean = _mean(outputs[0])
        noise = torch.zeros_like(mean) if deterministic else self._next_noise(last_noise, mean.shape)
        return (mean + self.log_std.detach().exp() * noise).numpy(), State(hidden, noise)

    @torch.no_grad()
    def _outputs(self, observations: NDArray[np.float32], state: State | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """The policy's outputs ``(1, N, n_layers, n_outputs)``, its next recurrent state, and the last noise."""
        features = torch.from_numpy(split_layers(observations))
        n, n_layers, _ = features.shape
        self.check_layers(n_layers)
        state = state or State(self.policy.initial_state(n, n_layers), None)
        return *self.policy(features[None], state.hidden), state.noise

    def describe(
        self, observations: NDArray[np.float32], state: State | None, actions: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        """``log_prob`` and ``entropy`` of each layer's action, in nats."""
        outputs, _, noise = self._outputs(observations, state)
        log_prob, entropy, _ = self._layer_log_prob(torch.as_tensor(actions)[None], outputs, noise)
        return {"log_prob": log_prob[0].detach().double().numpy(), "entropy": entropy[0].detach().double().numpy()}

    def _act_discrete(self, logits: Tensor, deterministic: bool) -> NDArray[np.int64]:
        if deterministic:
            return logits.argmax(-1).numpy()
        drawn = torch.multinomial(logits.softmax(-1).flatten(0, 1), 1, generator=self.generator)
        return drawn.view(logits.shape[:-1]).numpy()

    def _next_noise(self, last: Tensor | None, shape: torch.Size) -> Tensor:
        fresh = torch.randn(shape, generator=self.generator)
        half = len(fresh) // 2
        if self.config.mirror_noise and half:
            fresh[half : 2 * half] = -fresh[:half]
        rho = self.config.noise_correlation
        return fresh if last is None else rho * last + math.sqrt(1 - rho**2) * fresh

    def forget(self, state: State, rows: NDArray[np.bool_]) -> State:
        """The state in which some rows are as at the start of an episode; see :meth:`agents.base.Agent.forget`."""
        keep = torch.as_tensor(~rows)[:, None]
        noise = state.noise
        if noise is not None:
            noise = torch.where(keep, noise, self._next_noise(None, noise.shape))
        return State(state.hidden * keep[..., None], noise)

    def log_prob(
        self, actions: Tensor, outputs: Tensor, previous_noise: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities of a stretch of actions, each given those before it.

        Args:
            actions: ``(time, N, n_layers)``.
            outputs: The policy's outputs ``(time, N, n_layers, n_outputs)``.
            previous_noise: Noise before the stretch ``(N, n_layers)``; None at the start of an episode.

        Returns:
            Log-probabilities and entropies ``(time, N)``, summed over layers, and the last noise ``(N, n_layers)``.
        """
        log_prob, entropy, noise = self._layer_log_prob(actions, outputs, previous_noise)
        return log_prob.sum(-1), entropy.sum(-1), noise

    def _layer_log_prob(
        self, actions: Tensor, outputs: Tensor, previous_noise: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Like :meth:`log_prob`, of each layer ``(time, N, n_layers)``."""
        if self.discrete:
            distribution = torch.distributions.Categorical(logits=outputs)
            return distribution.log_prob(actions), distribution.entropy(), torch.zeros(0)
        z = (actions - _mean(outputs)) / self.log_std.exp()
        rho, first = self.config.noise_correlation, previous_noise is None
        before = torch.cat([(torch.zeros_like(z[0]) if previous_noise is None else previous_noise)[None], z[:-1]])
        scale = torch.full((len(z), 1, 1), math.sqrt(1 - rho**2))
        if first:
            scale[0] = 1.0
        residual = (z - rho * before) / scale
        entropy = 0.5 * math.log(2 * math.pi * math.e) + scale.log() + self.log_std
        log_prob = -0.5 * (residual**2 + math.log(2 * math.pi)) - scale.log() - self.log_std
        return log_prob, entropy.expand(z.shape), z[-1].detach()

    def _see(self, observations: NDArray[np.float32]) -> None:
        self.policy.normaliser.update(torch.from_numpy(split_layers(observations)))

    def update(self, segment: Segment) -> dict[str, float]:
        """One step of the policy's optimizer, or the share of it that keeps to `target_kl`; returns its log."""
        config = self.config
        features = torch.from_numpy(split_layers(np.stack(segment.observations)))
        actions = torch.from_numpy(np.stack(segment.actions))
        alive = torch.from_numpy(np.stack(segment.alive))
        advantages = advantages_of(torch.from_numpy(np.stack(segment.rewards)), alive, config).float()
        n, n_layers = features.shape[1:3]
        start = segment.state or State(self.policy.initial_state(n, n_layers), None)
        outputs, _ = self.policy(features, start.hidden)
        log_prob, entropy, _ = self.log_prob(actions, outputs, start.noise)
        weight = alive / alive.sum()
        policy_loss = -(advantages * log_prob * weight).sum()
        entropy_loss = -(entropy * weight).sum()
        self.optimizer.zero_grad()
        (policy_loss + config.ent_coef * entropy_loss).backward()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters(), config.max_grad_norm)
        kl = self._cautious_step(lambda: self.policy(features, start.hidden)[0][alive])
        return {
            "policy_loss": policy_loss.item(),
            "entropy": -entropy_loss.item() / n_layers,
            "approx_kl": kl,
            "grad_norm": norm.item(),
            "std": self.log_std.exp().item(),
        }

    @torch.no_grad()
    def _cautious_step(self, outputs: Callable[[], Tensor]) -> float:
        """Makes the optimizer's step, or the share of it that keeps to `target_kl`; returns the KL divergence."""
        before, old = outputs(), [p.clone() for p in self._parameters()]
        self.optimizer.step()
        new = [p.clone() for p in self._parameters()]
        kl, share = self._divergence(before, outputs()), 1.0
        while self.config.target_kl is not None and kl > 1.1 * self.config.target_kl:
            # For small steps the divergence grows with the square of the step; large ones take a few rounds.
            share *= min(max((self.config.target_kl / kl) ** 0.5, 0.1), 0.9)
            for p, p_old, p_new in zip(self._parameters(), old, new, strict=True):
                p.copy_(p_old + share * (p_new - p_old))
            kl = self._divergence(before, outputs())
        return kl

    def _divergence(self, old: Tensor, new: Tensor) -> float:
        """Mean KL divergence between two outputs' distributions of one action of one layer, in nats."""
        if self.discrete:
            p, q = (torch.distributions.Categorical(logits=outputs) for outputs in (old, new))
            return torch.distributions.kl_divergence(p, q).mean().item()
        return 0.5 * ((_mean(new) - _mean(old)) / self.log_std.exp()).square().mean().item()

    def check_layers(self, n_layers: int) -> None:
        """Raises ConfigError unless the policy runs on networks of so many layer groups."""
        if self.policy.n_heads not in (None, n_layers):
            raise ConfigError(
                f"This policy has heads for {self.policy.n_heads} layer groups and got {n_layers}; only a policy "
                "without per_layer_heads runs on networks with another number."
            )

    def check_env(self, env_config: EnvConfig) -> None:
        """Raises ConfigError unless the environment's actions mean what they meant in training."""
        check_action_settings(self.action_settings, env_config)

    def save(self, folder: Path) -> None:
        """Writes ``policy.safetensors`` and ``policy.json``."""
        description = {
            "agent": "reinforce",
            "name": self.name,
            **observed_features(),
            "action": self.action_settings,
            "n_heads": self.policy.n_heads,
            "episodes": self.episodes,
            "config": asdict(self.config),
        }
        write_policy(folder, description, self._tensors())

    def _tensors(self) -> dict[str, Tensor]:
        named = {f"policy.{k}": v for k, v in self.policy.state_dict().items()}
        return {**named, "log_std": self.log_std}

    @classmethod
    def load(cls, folder: Path) -> Reinforce:
        """Reads a policy that :meth:`save` wrote; nothing in the files is executed.

        Raises:
            ConfigError: If the folder holds no policy, or one for other features.
        """
        with reading_policy(folder) as (description, tensors):
            check_features(folder, description)
            config = override(ReinforceConfig(), as_object(description["config"]))
            env_config = EnvConfig.from_saved(as_object(description["action"]))
            n_heads = description["n_heads"]
            if config.per_layer_heads:
                require_integer("n_heads", n_heads)
            n_outputs = N_FACTORS if env_config.action == "discrete" else 1
            size, knots = config.hidden_size, config.n_knots
            require_shape(tensors, "policy.cell.weight_hh_l0", 3 * size, size)
            require_shape(tensors, "policy.table", 2 * knots + knots**2, n_outputs)
            require_shape(tensors, "policy.heads", n_heads if config.per_layer_heads else 1, 2 * size, n_outputs)
            agent = cls(
                env_config,
                config=config,
                n_layers=n_heads,
                name=description["name"],
            )
            agent.policy.load_state_dict(tensors_under("policy.", tensors))
            agent.log_std.data.copy_(tensors["log_std"])
            agent.episodes = require_integer("episodes", description["episodes"], 0)
        return agent


def _mean(outputs: Tensor) -> Tensor:
    """Means ``(...)`` of Gaussian actions from outputs ``(..., 1)``, within the box that actions are clipped to."""
    return outputs[..., 0].tanh()
