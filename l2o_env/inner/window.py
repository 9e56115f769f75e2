"""What goes into a window of updates and what comes out of it, on the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Start(NamedTuple):
    """What an episode of one optimizee starts from.

    Attributes:
        pair: Index of the pair.
        init_seed: Seed of the new head (and of a random backbone).
        batch_seed: Seed of the order of the training images.
    """

    pair: int
    init_seed: int
    batch_seed: int


@dataclass(frozen=True)
class Window:
    """What a window of updates ends with, on the host.

    Attributes:
        layers: Per-layer statistics by name (see ``LayerStatistics``), each ``(N, n_layers)``.
        head: Head statistics by name, each ``(N,)``.
        measurements: Losses and accuracies.
        diverged: ``(N,)``; weights, losses or validation values became non-finite, or validation losses larger than
            ``divergence_loss``. Such an optimizee is back at
            the window's first weights, without momentum.
    """

    layers: dict[str, NDArray[np.float64]]
    head: dict[str, NDArray[np.float64]]
    measurements: Measurements
    diverged: NDArray[np.bool_]


class WindowTime(NamedTuple):
    """Seconds that windows took, and those of them that were spent waiting for images to be decoded."""

    total: float
    waiting: float


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
        shifted_accuracy: The same on the pair's shifted images; NaN unless the reward is ``"transfer"``.
        shifted_kl: KL(proxy || optimizee) on those, likewise.
    """

    train_ce: NDArray[np.float64]
    train_kl: NDArray[np.float64]
    val_ce: NDArray[np.float64]
    val_kl: NDArray[np.float64]
    val_accuracy: NDArray[np.float64]
    target_accuracy: NDArray[np.float64]
    shifted_accuracy: NDArray[np.float64]
    shifted_kl: NDArray[np.float64]
