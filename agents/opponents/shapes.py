"""Shapes: factors of a rate over time, by the share of the budget that is used up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from l2o_env import lr_curve

ShapeName = Literal["constant", "cosine", "warmup_poly", "warmup_cosine"]

WARMUP = 0.1
"""Share of the budget that warm-up takes. ASG's takes 100 updates: 0.07 % of its 142,860 on VisDA-17, less than one
update of a run of 300, and a third of such a run if the number is kept. A tenth is a warm-up that short runs can use.
"""


def constant(progress: NDArray[np.float64], warmup: float = WARMUP) -> NDArray[np.float64]:
    """Factor 1 at any progress ``(...)``."""
    return np.ones_like(progress)


def cosine(progress: NDArray[np.float64], warmup: float = WARMUP) -> NDArray[np.float64]:
    """Half a cosine from 1 down to 0 at the end of the budget, without a warm-up."""
    return warmup_cosine(progress, 0.0)


def warmup_poly(progress: NDArray[np.float64], warmup: float = WARMUP) -> NDArray[np.float64]:
    """ASG's factor, :func:`l2o_env.lr_curve.warmup_poly`, with all times as shares of the budget.

    Args:
        progress: t / T, ``(...)``, from 0 to 1.
        warmup: Share of the budget that warm-up takes; 0 for none.
    """
    return lr_curve.warmup_poly(progress, 1.0, warmup)


def warmup_cosine(progress: NDArray[np.float64], warmup: float = WARMUP) -> NDArray[np.float64]:
    """Linear warm-up from 0 to 1, then half a cosine down to 0 at the end of the budget; arguments as above."""
    rest = np.clip((progress - warmup) / max(1 - warmup, 1e-9), 0, 1)
    return lr_curve.warmed_up(progress, warmup) * (1 + np.cos(np.pi * rest)) / 2


SHAPES: dict[ShapeName, Callable[[NDArray[np.float64], float], NDArray[np.float64]]] = {
    "constant": constant,
    "cosine": cosine,
    "warmup_poly": warmup_poly,
    "warmup_cosine": warmup_cosine,
}
"""Shapes by name: (progress ``(...)``, share of warm-up) to factors ``(...)``."""
