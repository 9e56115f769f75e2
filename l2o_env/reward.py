"""Rewards: pure functions of what was measured before and after a window."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from l2o_env.config import EnvConfig
from l2o_env.inner.window import Measurements
from l2o_env.pairs.pair import Pair


def kl_weight(config: EnvConfig, pair: Pair) -> float:
    """Weight w of the KL in V on a pair: that of the settings, or by its classes.

    A KL from a sure proxy is up to ln(its classes) where nothing of it is left. With ``"auto"`` it counts as a share of
    that, so that the KL of two classes is not lost and that of ImageNet's thousand does not outweigh all else: as much
    as a cross-entropy does as a share of ln(classes), and a quarter as much as an accuracy.
    """
    if config.kl_weight != "auto":
        return config.kl_weight
    forgotten = math.log(max(pair.n_proxy_classes, 2))
    return 1 / (4 * forgotten) if config.reward == "transfer" else math.log(pair.n_classes) / forgotten


_Weights = NDArray[np.float64] | float

VALUES: dict[str, Callable[[Measurements, EnvConfig, _Weights], NDArray[np.float64]]] = {
    "transfer": lambda m, config, w: m.shifted_accuracy - w * m.shifted_kl,
    "proxy_guided": lambda m, config, w: -(m.val_ce + w * m.val_kl),
    "val_loss": lambda m, config, w: -m.val_ce,
    "val_accuracy": lambda m, config, w: m.val_accuracy,
    "train_loss": lambda m, config, w: -(m.train_ce + config.kl_loss_weight * m.train_kl),
    "target_oracle": lambda m, config, w: m.target_accuracy,
}
"""The value whose improvement each reward pays. ``target_oracle`` reads target labels: it is not zero-shot."""


def judged_by(config: EnvConfig) -> Literal["transfer", "proxy_guided"]:
    """The reward whose value V is: by that, trainings are judged whatever else is rewarded."""
    return "transfer" if config.reward == "transfer" else "proxy_guided"


def value(m: Measurements, config: EnvConfig, w: _Weights) -> NDArray[np.float64]:
    """V of N optimizees, ``(N,)``; in nats with ``"proxy_guided"``.

    Args:
        m: What was measured.
        config: Settings.
        w: Weight of the KL, one for all or ``(N,)``; see :func:`kl_weight`.
    """
    return VALUES[judged_by(config)](m, config, w)


def reward(
    before: Measurements,
    after: Measurements,
    diverged: NDArray[np.bool_],
    config: EnvConfig,
    w: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Improvement of the value over a window, so that the rewards of an episode sum to V_end - V_start.

    Args:
        before: What the last window ended with (or the start of the episode).
        after: What this window ended with. For a diverged optimizee it describes the last finite weights.
        diverged: ``(N,)``; these get ``-divergence_penalty`` instead.
        config: Settings.
        w: Weights of the KL ``(N,)``, see :func:`kl_weight`.

    Returns:
        Rewards ``(N,)``.
    """
    worth = VALUES[config.reward]
    return np.where(diverged, -config.divergence_penalty, worth(after, config, w) - worth(before, config, w))


PARTS = ("reward_ce", "reward_kl", "reward_accuracy", "reward_penalty")
"""Parts of a reward, which sum to it."""


def reward_parts(
    before: Measurements,
    after: Measurements,
    diverged: NDArray[np.bool_],
    config: EnvConfig,
    w: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """What :func:`reward` is made of, ``(N,)`` each: a part that a reward does not have is 0.

    Args:
        before: As for :func:`reward`.
        after: As for :func:`reward`.
        diverged: As for :func:`reward`.
        config: Settings.
        w: As for :func:`reward`.

    Returns:
        By name of ``PARTS``: improvement of the cross-entropy (of validation, or of training for ``"train_loss"``), of
        the KL term with its weight, of the accuracy (shifted, validation or target), and the penalty for divergence.
    """
    parts = {name: np.zeros(len(diverged)) for name in PARTS}
    if config.reward in ("proxy_guided", "val_loss"):
        parts["reward_ce"] = before.val_ce - after.val_ce
    if config.reward == "transfer":
        parts["reward_accuracy"] = after.shifted_accuracy - before.shifted_accuracy
        parts["reward_kl"] = w * (before.shifted_kl - after.shifted_kl)
    if config.reward == "proxy_guided":
        parts["reward_kl"] = w * (before.val_kl - after.val_kl)
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
