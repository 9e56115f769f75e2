"""Advantages of a population's actions: pure functions of its rewards."""

from __future__ import annotations

import torch
from torch import Tensor

from ..algorithms.reinforce_config import ReinforceConfig


def advantages_of(rewards: Tensor, alive: Tensor, config: ReinforceConfig) -> Tensor:
    """Return-to-go minus baseline.

    Args:
        rewards: ``(time, N)``, 0 where not alive.
        alive: ``(time, N)``; whether a step was made.
        config: Discount, baseline and normalisation.

    Returns:
        ``(time, N)``, 0 where not alive.
    """
    returns = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        following = rewards[t] + config.gamma * following
        returns[t] = following
    if config.baseline != "none":
        gained = rewards.cumsum(0) - rewards if config.baseline == "fitted" else torch.zeros_like(rewards)
        returns = torch.stack([unpredicted(*row) for row in zip(returns, gained, alive, strict=True)])
    if config.normalize_advantage:
        scale = returns[alive].square().mean().sqrt()
        returns = (returns / (scale + 1e-8)).clamp(-config.max_advantage, config.max_advantage)
    return returns * alive


def unpredicted(y: Tensor, x: Tensor, alive: Tensor) -> Tensor:
    """What a line through the *other* points does not predict of each: ``y_i - (a + b x_i)``, a and b without i.

    Args:
        y: ``(N,)``.
        x: ``(N,)``; without any spread only the mean of the others is taken away.
        alive: ``(N,)``; points that count; the result is 0 elsewhere, and for a lone point.
    """
    n = int(alive.sum())
    if n < 2:
        return torch.zeros_like(y)
    dx, dy = x - x[alive].mean(), y - y[alive].mean()
    sxx = dx[alive].square().sum()
    # With three points or fewer, what a line through the others says of the last is arbitrary.
    slope = (dx * dy)[alive].sum() / sxx if n > 3 and sxx > 1e-12 else torch.zeros_like(sxx)
    leverage = 1 / n + (dx.square() / sxx if n > 3 and sxx > 1e-12 else torch.zeros_like(dx))
    # The residual of a point left out follows from that of the whole fit.
    return torch.where(alive, (dy - slope * dx) / (1 - leverage).clamp(min=1e-3), 0.0)
