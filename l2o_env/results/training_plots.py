"""How trainings went, as pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2o_env.pairs.spec import label
from l2o_env.results.plot_style import CATEGORICAL, line_style, new_figure, save_figure

Curve = tuple[Sequence[float], Sequence[float]]
"""Episodes so far, and a value at each."""
_MARKERS = "osD^vP*X<>"
"""Of pairs; together with their colours they tell 70 apart."""


def plot_learning_curve(
    records: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    *,
    smoothing: int | None = None,
    unit: str = "nats",
) -> None:
    """Draws the return of training episodes: a point per update in the colour of its pair, and a running mean.

    Args:
        records: What ``learn`` hands to its callback: ``episode`` (episodes so far), ``return_mean`` and ``pair`` of
            each update.
        path: Where the PNG goes.
        smoothing: Updates that the running mean reaches over; None takes a tenth of them, at least 3.
        unit: Unit of the reward.

    Raises:
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    episodes = np.array([record["episode"] for record in records], float)
    returns = np.array([record["return_mean"] for record in records], float)
    pairs = [str(record.get("pair", "")) for record in records]
    figure = new_figure(8.0, 4.2, layout="constrained")
    axis = figure.subplots()
    for i, pair in enumerate(dict.fromkeys(pairs)):
        mine = np.array([other == pair for other in pairs])
        colour, marker = CATEGORICAL[i % len(CATEGORICAL)], _MARKERS[i % len(_MARKERS)]
        axis.plot(
            episodes[mine], returns[mine], marker, color=colour, ms=4, alpha=0.75, label=label(pair) if pair else None
        )
    if len(records):
        width = max(3, len(records) // 10) if smoothing is None else smoothing
        text = f"running mean of {width} updates"
        axis.plot(episodes, running_mean(returns, width), color="black", lw=2, label=text)
        axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    axis.set_xlabel("training episodes")
    axis.set_ylabel(f"return, mean of an update's episodes ({unit})")
    axis.grid(alpha=0.3, lw=0.5)
    save_figure(figure, path)


def plot_learning_curves(curves: Mapping[str, Curve], path: str | os.PathLike[str]) -> None:
    """Draws learning curves of several policies: the running mean of the training return over episodes.

    Args:
        curves: Mean return of each update, by policy.
        path: Where the PNG goes.

    Raises:
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    figure = new_figure(8.2, 4.0, layout="constrained")
    axis = figure.subplots()
    for i, (name, (episodes, returns)) in enumerate(curves.items()):
        smooth = running_mean(np.asarray(returns, float), max(3, len(returns) // 10))
        axis.plot(episodes, smooth, **line_style(i), lw=1.7, label=name)
    axis.set_xlabel("training episodes")
    axis.set_ylabel("return (unit of the reward), running mean")
    axis.grid(alpha=0.3, lw=0.5)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    save_figure(figure, path)


def running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean of each value ``(n,)`` and up to ``width - 1`` values before it."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
