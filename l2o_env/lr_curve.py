"""How a learning rate goes up and down by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def warmup_poly(time: NDArray[Any], budget: float, warmup: float) -> NDArray[np.float64]:
    """ASG's factor of the rate over time: min(0.01 + 0.99 (t / warmup)², 1) · (1 − min(t / T, 0.8))^0.9.

    Args:
        time: t, ``(...)``: updates, or any other unit that all three are in, such as shares of the budget.
        budget: T, length of an episode.
        warmup: Length of the warm-up; 0 for none.
    """
    return (0.01 + 0.99 * warmed_up(time, warmup) ** 2) * (1 - np.minimum(time / budget, 0.8)) ** 0.9


def warmed_up(time: NDArray[Any], warmup: float) -> NDArray[np.float64]:
    """Share of a linear warm-up that is over, ``(...)`` from 0 to 1.

    Args:
        time: Time since the start of the episode, ``(...)``.
        warmup: Length of the warm-up in the same unit; 0 for none.
    """
    return np.minimum(time / warmup, 1.0) if warmup > 0 else np.ones(np.shape(time))
