"""Policies of Stable-Baselines3 whose actor is shared by all layer groups.

SB3's own networks read the observation as one flat vector: each layer group has weights of its own, which have to be
learned separately, and run on no other number of groups. Here one small network sees a layer's features and their
mean over the layers, and gives the action of that layer. Critics, which only training reads, stay as SB3 has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from gymnasium import spaces
from sb3_contrib.ars.policies import ARSPolicy
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.crossq.policies import CrossQPolicy
from sb3_contrib.tqc.policies import TQCPolicy
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, create_mlp
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

from l2o_env.action import N_FACTORS
from l2o_env.observation import N_FEATURES


class LayerEncoder(nn.Module):
    """An MLP that reads each layer's features beside their mean over the layers.

    Args:
        hidden: Widths of the hidden layers; none passes on features and means.
        activation: Between the layers.
    """

    def __init__(self, hidden: Sequence[int], activation: type[nn.Module]) -> None:
        super().__init__()
        sizes = [2 * N_FEATURES, *hidden]
        self.net = nn.Sequential(*(part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), activation())))
        self.width = sizes[-1]

    def forward(self, observations: Tensor) -> Tensor:
        """Maps ``(N, n_layers * n_features)`` to ``(N, n_layers * width)``, layer after layer."""
        features = observations.unflatten(-1, (-1, N_FEATURES))
        means = features.mean(-2, keepdim=True).expand_as(features)
        return self.net(torch.cat([features, means], dim=-1)).flatten(-2)


class LayerHead(nn.Module):
    """A linear map that each layer's encoding goes through.

    Args:
        width: Of an encoding.
        n_outputs: Numbers per layer.
        squash: Whether to bound the outputs to [-1, 1] by tanh.
        gain: Scale of the initial weights.
        bias: Initial bias.
    """

    def __init__(self, width: int, n_outputs: int = 1, squash: bool = False, gain: float = 0.01, bias: float = 0.0):
        super().__init__()
        self.width, self.squash = width, squash
        self.linear = nn.Linear(width, n_outputs)
        # Small, so that training starts from the middle of the action range on every layer.
        nn.init.orthogonal_(self.linear.weight, gain)
        nn.init.constant_(self.linear.bias, bias)

    def forward(self, encodings: Tensor) -> Tensor:
        """Maps ``(N, n_layers * width)`` to ``(N, n_layers * n_outputs)``, layer after layer."""
        outputs = self.linear(encodings.unflatten(-1, (-1, self.width))).flatten(-2)
        return outputs.tanh() if self.squash else outputs


class PooledLayers(BaseFeaturesExtractor):
    """The mean over the layers, the first and the last layer: features for one action of the whole network."""

    def __init__(self, observation_space: spaces.Space) -> None:
        super().__init__(observation_space, features_dim=3 * N_FEATURES)

    def forward(self, observations: Tensor) -> Tensor:
        """Maps ``(N, n_layers * n_features)`` to ``(N, 3 * n_features)``."""
        features = observations.unflatten(-1, (-1, N_FEATURES))
        return torch.cat([features.mean(-2), features[..., 0, :], features[..., -1, :]], dim=-1)


class _ActorAndValue(nn.Module):
    """In the place of SB3's ``MlpExtractor``: a shared encoder for the actor, an MLP for the value."""

    def __init__(self, n_layers: int, actor: Sequence[int], value: Sequence[int], activation: type[nn.Module]) -> None:
        super().__init__()
        self.policy_net = LayerEncoder(actor, activation)
        self.value_net = nn.Sequential(*create_mlp(n_layers * N_FEATURES, -1, list(value), activation))
        self.latent_dim_pi = n_layers * self.policy_net.width
        self.latent_dim_vf = value[-1] if value else n_layers * N_FEATURES

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: Tensor) -> Tensor:
        return self.policy_net(features)

    def forward_critic(self, features: Tensor) -> Tensor:
        return self.value_net(features)


class _SharedActorCritic:
    """Mixed into SB3's actor-critic policies; the mean of Gaussian actions stays within the action box."""

    mlp_extractor: Any
    action_net: Any

    def _build_mlp_extractor(self: Any) -> None:
        widths = list(self.net_arch)
        n_layers = self.features_dim // N_FEATURES
        self.mlp_extractor = _ActorAndValue(n_layers, widths, widths, self.activation_fn)

    def _build(self: Any, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)  # type: ignore[misc]
        continuous = isinstance(self.action_space, spaces.Box)
        n_outputs = 1 if continuous else N_FACTORS
        self.action_net = LayerHead(self.mlp_extractor.policy_net.width, n_outputs, squash=continuous)
        if continuous:
            self.log_std = nn.Parameter(torch.full((1,), float(self.log_std_init)))
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)


class SharedActorCriticPolicy(_SharedActorCritic, ActorCriticPolicy):
    """For PPO, A2C and TRPO."""


class SharedMaskablePolicy(_SharedActorCritic, MaskableActorCriticPolicy):
    """For MaskablePPO."""


def _share_gaussian_actor(actor: Any) -> Any:
    encoder = LayerEncoder(actor.net_arch, actor.activation_fn)
    actor.latent_pi, actor.mu = encoder, LayerHead(encoder.width)
    actor.log_std = LayerHead(encoder.width, bias=actor.log_std_init)
    return actor


class SharedSACPolicy(SACPolicy):
    """For SAC."""

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """SB3's actor with shared networks."""
        return _share_gaussian_actor(super().make_actor(features_extractor))


class SharedTQCPolicy(TQCPolicy):
    """For TQC."""

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """SB3's actor with shared networks."""
        return _share_gaussian_actor(super().make_actor(features_extractor))


class SharedCrossQPolicy(CrossQPolicy):
    """For CrossQ; the shared actor has no batch renormalisation, the critics have."""

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """SB3's actor with shared networks."""
        return _share_gaussian_actor(super().make_actor(features_extractor))


class SharedTD3Policy(TD3Policy):
    """For TD3 and DDPG."""

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """SB3's actor with shared networks."""
        actor: Any = super().make_actor(features_extractor)
        encoder = LayerEncoder(actor.net_arch, actor.activation_fn)
        actor.mu = nn.Sequential(encoder, LayerHead(encoder.width, squash=True))
        return actor


class SharedARSPolicy(ARSPolicy):
    """For ARS; without hidden layers it is linear in the features."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space, **kwargs: Any) -> None:
        super().__init__(observation_space, action_space, **kwargs)
        encoder = LayerEncoder(self.net_arch, self.activation_fn)
        self.action_net = nn.Sequential(encoder, LayerHead(encoder.width, squash=True))
