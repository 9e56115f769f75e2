"""What the policies of Stable-Baselines3 say of their actions, for recordings."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy


def describe(
    policy: BasePolicy, seen: NDArray[np.float32], state: Any, actions: NDArray[Any], masks: NDArray[np.bool_] | None
) -> dict[str, NDArray[np.float64]]:
    """``log_prob`` and ``entropy`` of each layer's action, ``(N, n_layers)`` in nats.

    Empty for policies without a distribution of independent numbers per layer: those of the off-policy algorithms (a
    squashed Gaussian has no entropy in closed form) and of ARS.

    Args:
        policy: The policy.
        seen: Normalised observations ``(N, n_layers * n_features)``.
        state: The recurrent state that the actions were chosen in; None at the start of an episode.
        actions: ``(N, n_layers)``.
        masks: Which discrete actions were allowed, for a maskable policy.
    """
    observations = torch.as_tensor(seen, device=policy.device)
    with torch.no_grad():
        if isinstance(policy, RecurrentActorCriticPolicy):
            starts = torch.full((len(seen),), float(state is None), device=policy.device)
            distribution: Any = policy.get_distribution(observations, _lstm_state(policy, state, len(seen)), starts)[0]
        elif isinstance(policy, ActorCriticPolicy):
            distribution = policy.get_distribution(observations)
        elif masks is not None:
            distribution = policy.get_distribution(observations, action_masks=masks)  # type: ignore[operator]
        else:
            return {}
        chosen = torch.as_tensor(actions, device=policy.device)
        of_torch = getattr(distribution, "distributions", None) or distribution.distribution
        if isinstance(of_torch, list):  # one distribution per layer
            columns = zip(of_torch, chosen.T, strict=True)
            log_prob = torch.stack([layer.log_prob(column) for layer, column in columns], dim=-1)
            entropy = torch.stack([layer.entropy() for layer in of_torch], dim=-1)
        else:
            log_prob, entropy = of_torch.log_prob(chosen), of_torch.entropy()
    if log_prob.shape != chosen.shape:
        return {}
    return {"log_prob": log_prob.double().cpu().numpy(), "entropy": entropy.double().cpu().numpy()}


def _lstm_state(policy: RecurrentActorCriticPolicy, state: Any, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    if state is None:
        shape = (policy.lstm_actor.num_layers, n, policy.lstm_actor.hidden_size)
        return torch.zeros(shape, device=policy.device), torch.zeros(shape, device=policy.device)
    hidden, cell = (torch.as_tensor(memory, dtype=torch.float32, device=policy.device) for memory in state)
    return hidden, cell
