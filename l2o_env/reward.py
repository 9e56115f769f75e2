"""Rewards: pure functions of what was measured before and after a window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2o_env.config import EnvConfig


@dataclass(frozen=True)
class Measurements:
    """What a window ends with, for each of N optimizees; every field is ``(N,)``.

    Attributes:
        train_ce: Cross-entropy of the window's training batches, in nats.
        train_kl: KL(proxy || optimizee) of the proxy head on the same batches, in nats.
        val_ce: Cross-entropy on the held-out synthetic images, in nats.
        val_kl: KL(proxy || optimizee) on the held-out synthetic images, in nats.
        val_accuracy: Share of the held-out synthetic images that are classified rightly.
        target_accuracy: The same on the real target; NaN unless the reward is ``"target_oracle"``.
    """

    train_ce: NDArray[np.float64]
    train_kl: NDArray[np.float64]
    val_ce: NDArray[np.float64]
    val_kl: NDArray[np.float64]
    val_accuracy: NDArray[np.float64]
    target_accuracy: NDArray[np.float64]


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
