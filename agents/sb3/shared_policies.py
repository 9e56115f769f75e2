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
from stable_baselines3.common.distributions import StateDependentNoiseDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, create_mlp
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn
from torch.distributions import Normal

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
        self.net = nn.Sequential(*(module for a, b in pairwise(sizes) for module in (nn.Linear(a, b), activation())))
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
        whole: Whether to append a number for the whole network, from the mean of the encodings: the weight of the
            guidance term, where actions set it.
        squash: Whether to bound the outputs to [-1, 1] by tanh.
        gain: Scale of the initial weights.
        bias: Initial bias.
    """

    def __init__(
        self,
        width: int,
        n_outputs: int = 1,
        *,
        whole: bool = False,
        squash: bool = False,
        gain: float = 0.01,
        bias: float = 0.0,
    ) -> None:
        super().__init__()
        self.width, self.squash = width, squash
        self.linear = nn.Linear(width, n_outputs)
        self.whole = nn.Linear(width, 1) if whole else None
        for linear in (self.linear, self.whole) if self.whole is not None else (self.linear,):
            # Small, so that training starts from the middle of the action range on every layer.
            nn.init.orthogonal_(linear.weight, gain)
            nn.init.constant_(linear.bias, bias)

    def forward(self, encodings: Tensor) -> Tensor:
        """Maps ``(N, n_layers * width)`` to ``(N, n_layers * n_outputs)``, layer after layer, or one number more."""
        layers = encodings.unflatten(-1, (-1, self.width))
        outputs = self.linear(layers).flatten(-2)
        if self.whole is not None:
            outputs = torch.cat([outputs, self.whole(layers.mean(-2))], dim=-1)
        return outputs.tanh() if self.squash else outputs


def _sets_guidance(policy: Any) -> bool:
    """Whether actions have one number more than there are layers."""
    n_layers = policy.observation_space.shape[0] // N_FEATURES
    return isinstance(policy.action_space, spaces.Box) and policy.action_space.shape[0] > n_layers


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


class SharedNoise(StateDependentNoiseDistribution):
    """gSDE (Raffin et al., 2021) with one vector of noise weights for all layers: noise is linear in an encoding.

    Args:
        action_dim: Number of layers, and one more if actions set the weight of the guidance term.
        width: Of an encoding.
    """

    def __init__(self, action_dim: int, width: int) -> None:
        super().__init__(action_dim, learn_features=False)
        self.width = width

    def _rows(self, encodings: Tensor) -> Tensor:
        """The encoding ``(N, action_dim, width)`` that each action's noise is made of."""
        layers = encodings.detach().unflatten(-1, (-1, self.width))
        whole = layers.mean(-2, keepdim=True)
        return layers if layers.shape[-2] == self.action_dim else torch.cat([layers, whole], dim=-2)

    def proba_distribution(self, mean_actions: Tensor, log_std: Tensor, latent_sde: Tensor) -> SharedNoise:
        """The distribution over draws of the weights; `log_std` is ``(width, 1)``."""
        self._latent_sde = latent_sde.detach()
        variance = (self._rows(latent_sde) ** 2 @ self.get_std(log_std) ** 2).squeeze(-1)
        self.distribution = Normal(mean_actions, (variance + self.epsilon).sqrt())
        return self

    def get_noise(self, latent_sde: Tensor) -> Tensor:
        """Noise ``(N, action_dim)`` of the weights that were drawn last, for each of N optimizees if there are N."""
        one_each = len(latent_sde) == len(self.exploration_matrices)
        return (self._rows(latent_sde) @ (self.exploration_matrices if one_each else self.exploration_mat)).squeeze(-1)


class _SharedActorCritic:
    """Mixed into SB3's actor-critic policies; the mean of Gaussian actions stays within the action box."""

    action_dist: Any
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
        width, whole = self.mlp_extractor.policy_net.width, _sets_guidance(self)
        self.action_net = LayerHead(width, n_outputs, whole=whole, squash=continuous)
        if continuous:
            noisy = getattr(self, "use_sde", False)
            self.log_std = nn.Parameter(torch.full((width, 1) if noisy else (1,), float(self.log_std_init)))
            if noisy:
                self.action_dist = SharedNoise(self.action_space.shape[0], width)
                self.reset_noise()
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)


class SharedActorCriticPolicy(_SharedActorCritic, ActorCriticPolicy):
    """For PPO, A2C and TRPO."""


class SharedMaskablePolicy(_SharedActorCritic, MaskableActorCriticPolicy):
    """For MaskablePPO."""


def _share_gaussian_actor(actor: Any) -> Any:
    encoder, whole = LayerEncoder(actor.net_arch, actor.activation_fn), _sets_guidance(actor)
    actor.latent_pi, actor.mu = encoder, LayerHead(encoder.width, whole=whole)
    actor.log_std = LayerHead(encoder.width, whole=whole, bias=actor.log_std_init)
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
        actor.mu = nn.Sequential(encoder, LayerHead(encoder.width, whole=_sets_guidance(actor), squash=True))
        return actor


class SharedARSPolicy(ARSPolicy):
    """For ARS; without hidden layers it is linear in the features."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space, **kwargs: Any) -> None:
        super().__init__(observation_space, action_space, **kwargs)
        encoder = LayerEncoder(self.net_arch, self.activation_fn)
        self.action_net = nn.Sequential(encoder, LayerHead(encoder.width, whole=_sets_guidance(self), squash=True))
