"""How long each window is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def fixed_windows(done: NDArray[np.int64], window: int, budget: int) -> NDArray[np.int64]:
    """Updates of the next window: `window`, or what is left of the budget.

    Args:
        done: ``(N,)``, updates that each optimizee has made.
        window: Updates between two actions.
        budget: Updates of an episode.
    """
    return np.minimum(window, budget - done)
