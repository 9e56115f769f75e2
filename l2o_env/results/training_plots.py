"""How a training went, as a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2o_env.pairs.spec import label
from l2o_env.results.plot_style import CATEGORICAL, new_figure, save_figure


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
    names = [str(record.get("pair", "")) for record in records]
    figure = new_figure(8.0, 4.2, layout="constrained")
    axis = figure.subplots()
    markers = "osD^vP*X<>"
    for i, name in enumerate(dict.fromkeys(names)):
        mine = np.array([other == name for other in names])
        colour, marker = CATEGORICAL[i % len(CATEGORICAL)], markers[i % len(markers)]
        axis.plot(
            episodes[mine], returns[mine], marker, color=colour, ms=4, alpha=0.75, label=label(name) if name else None
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


def running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean of each value ``(n,)`` and up to ``width - 1`` values before it."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
