"""Rewards: pure functions of what was measured before and after a window."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from l2o_env.config import EnvConfig
from l2o_env.inner.window import Measurements


def proxy_guided_value(m: Measurements, config: EnvConfig) -> NDArray[np.float64]:
    """V = -(CE_val + w KL_val), ``(N,)``, in nats."""
    return -(m.val_ce + config.kl_weight * m.val_kl)


VALUES: dict[str, Callable[[Measurements, EnvConfig], NDArray[np.float64]]] = {
    "proxy_guided": proxy_guided_value,
    "val_loss": lambda m, config: -m.val_ce,
    "val_accuracy": lambda m, config: m.val_accuracy,
    "train_loss": lambda m, config: -(m.train_ce + config.kl_loss_weight * m.train_kl),
    "target_oracle": lambda m, config: m.target_accuracy,
}
"""The value whose improvement each reward pays. ``target_oracle`` reads target labels: it is not zero-shot."""


def reward(
    before: Measurements, after: Measurements, diverged: NDArray[np.bool_], config: EnvConfig
) -> NDArray[np.float64]:
    """Improvement of the value over a window, so that the rewards of an episode sum to V_end - V_start.

    Args:
        before: What the last window ended with (or the start of the episode).
        after: What this window ended with. For a diverged optimizee it describes the last finite weights.
        diverged: ``(N,)``; these get ``-divergence_penalty`` instead.
        config: Settings.

    Returns:
        Rewards ``(N,)``.
    """
    value = VALUES[config.reward]
    return np.where(diverged, -config.divergence_penalty, value(after, config) - value(before, config))


PARTS = ("reward_ce", "reward_kl", "reward_accuracy", "reward_penalty")
"""Parts of a reward, which sum to it."""


def reward_parts(
    before: Measurements, after: Measurements, diverged: NDArray[np.bool_], config: EnvConfig
) -> dict[str, NDArray[np.float64]]:
    """What :func:`reward` is made of, ``(N,)`` each: a part that a reward does not have is 0.

    Args:
        before: As for :func:`reward`.
        after: As for :func:`reward`.
        diverged: As for :func:`reward`.
        config: Settings.

    Returns:
        By name of ``PARTS``: improvement of the cross-entropy (of validation, or of training for ``"train_loss"``), of
        the KL term with its weight, of the accuracy (validation or target), and the penalty for divergence.
    """
    parts = {name: np.zeros(len(diverged)) for name in PARTS}
    if config.reward in ("proxy_guided", "val_loss"):
        parts["reward_ce"] = before.val_ce - after.val_ce
    if config.reward == "proxy_guided":
        parts["reward_kl"] = config.kl_weight * (before.val_kl - after.val_kl)
    if config.reward == "train_loss":
        parts["reward_ce"] = before.train_ce - after.train_ce
        parts["reward_kl"] = config.kl_loss_weight * (before.train_kl - after.train_kl)
    if config.reward == "val_accuracy":
        parts["reward_accuracy"] = after.val_accuracy - before.val_accuracy
    if config.reward == "target_oracle":
        parts["reward_accuracy"] = after.target_accuracy - before.target_accuracy
    parts = {name: np.where(diverged, 0.0, values) for name, values in parts.items()}
    parts["reward_penalty"] = np.where(diverged, -config.divergence_penalty, 0.0)
    return parts
