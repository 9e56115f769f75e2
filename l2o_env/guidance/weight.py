"""How the weight λ of a guidance term changes over an episode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from l2o_env.config import EnvConfig


WARMUP = 0.1
"""Share of the budget over which `warmup` raises λ."""


def scheduled_weight(config: EnvConfig, done: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """λ of the coming windows, ``(N,)``, read at their midpoints as learning-rate schedules are.

    Args:
        config: ``guidance_weight`` is the largest λ, ``guidance_schedule`` how it changes: `constant`, `linear` and
            `cosine` (both from there to 0 at the end), `warmup` (from 0 to there in the first tenth of the budget).
        done: Updates that were made, ``(N,)``.
        lengths: Updates of the windows, ``(N,)``.
    """
    if config.guidance_schedule == "constant":
        return np.full(done.shape, config.guidance_weight)
    progress = (done + lengths / 2) / config.budget
    factors = {
        "linear": 1 - progress,
        "cosine": (1 + np.cos(np.pi * progress)) / 2,
        "warmup": np.minimum(progress / WARMUP, 1.0),
    }
    return config.guidance_weight * factors[config.guidance_schedule]
