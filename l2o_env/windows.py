"""How long each window is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from l2o_env.config import EnvConfig, WindowForm

SHARE = 20
"""ASG's windows are this part of the updates that were made in earlier epochs."""


def fixed_windows(done: NDArray[np.int64], window: int, budget: int) -> NDArray[np.int64]:
    """Updates of the next window: `window`, or what is left of the budget.

    Args:
        done: ``(N,)``, updates that each optimizee has made.
        window: Updates between two actions.
        budget: Updates of an episode.
    """
    return np.minimum(window, budget - done)


def asg_windows(
    done: NDArray[np.int64], window: int, budget: int, epoch: NDArray[np.int64], intended: bool = False
) -> NDArray[np.int64]:
    """Updates of the next window as the released ASG has it: max(window, current + earlier // 20).

    *Current* are the updates made in this epoch, *earlier* those of the epochs before. Because the division binds
    more tightly than the sum, windows double within an epoch; (current + earlier) // 20 was probably meant.

    Args:
        done: ``(N,)``, updates that each optimizee has made.
        window: The shortest window.
        budget: Updates of an episode.
        epoch: ``(N,)``, updates of an epoch; a window ends with the epoch at the latest.
        intended: Whether to divide the sum.
    """
    current = done % epoch
    earlier = done - current
    wanted = (current + earlier) // SHARE if intended else current + earlier // SHARE
    return np.minimum(np.maximum(window, wanted), np.minimum(epoch - current, budget - done))


def next_windows(config: EnvConfig, done: NDArray[np.int64], epoch: NDArray[np.int64]) -> NDArray[np.int64]:
    """Updates of the next window ``(N,)``; arguments as above."""
    if config.windows == "fixed":
        return fixed_windows(done, config.window, config.budget)
    return asg_windows(done, config.window, config.budget, epoch, config.windows == "asg_intended")


def decision_points(windows: WindowForm, window: int, budget: int, epoch: int) -> list[int]:
    """Updates made at each decision of an episode.

    Of the fixed windows the first decision is made before any update; ASG's first window is run at the base rates,
    because its observation is that of a window.

    Args:
        windows: ``"fixed"``, ``"asg"`` or ``"asg_intended"``.
        window: Length of a fixed window, or the shortest one.
        budget: Updates of an episode.
        epoch: Updates of an epoch.
    """
    points, done = [0], np.zeros(1, np.int64)
    while done[0] < budget:
        if windows == "fixed":
            done = done + fixed_windows(done, window, budget)
        else:
            done = done + asg_windows(done, window, budget, np.array([epoch]), windows == "asg_intended")
        points.append(int(done[0]))
    return points[:-1] if windows == "fixed" else points[1:-1]
