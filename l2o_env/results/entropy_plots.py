"""Pictures of how random a policy's actions are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from l2o_env.errors import ConfigError
from l2o_env.results.plot_style import CATEGORICAL, count_episodes, in_legend, layer_colours, new_figure, save_figure
from l2o_env.results.training_plots import Curve, running_mean

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LEAST_SPAN = 0.5
"""Nats that an axis spans at least, so that what hardly changes looks like it."""


def plot_entropy(
    training: Mapping[str, Curve],
    path: str | os.PathLike[str],
    rows: pd.DataFrame | None = None,
) -> None:
    """Draws the entropy of the policy's actions: over training, and of each layer over an episode.

    Args:
        training: Entropy (nats per layer) of each update, by policy; may be empty.
        path: Where the PNG goes.
        rows: Recorded rows of one policy with their ``entropy``; None or all NaN leaves the right panel out.

    Raises:
        ConfigError: If there is neither.
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    known = None if rows is None else rows[np.isfinite(rows["entropy"])]
    within = known is not None and len(known) > 0
    if not training and not within:
        raise ConfigError("There is no entropy to draw: neither training events nor actions with an entropy.")
    n = bool(training) + within
    figure = new_figure(1.0 + 4.9 * n, 3.7, layout="constrained")
    axes = list(figure.subplots(1, n, squeeze=False)[0])
    if training:
        axis = axes.pop(0)
        for i, (name, (episodes, values)) in enumerate(training.items()):
            smooth = running_mean(np.asarray(values, float), max(1, len(values) // 20))
            marker = "o" if len(smooth) == 1 else ""  # a line of one point is none
            axis.plot(
                episodes,
                smooth,
                color=CATEGORICAL[i % len(CATEGORICAL)],
                lw=1.8,
                marker=marker,
                ms=4,
                label=in_legend(name),
            )
        count_episodes(axis)
        axis.set_ylabel("entropy of a layer's action (nats)")
        axis.set_title("over training", fontsize=10)
        axis.grid(alpha=0.3, lw=0.5)
        axis.legend(fontsize=8)
        _widen(axis)
    if within and known is not None:
        _draw_entropy(axes.pop(0), known)
    save_figure(figure, path)


def _draw_entropy(axis: Axes, rows: pd.DataFrame) -> None:
    means = rows.groupby(["updates", "layer"], sort=False)["entropy"].mean().unstack()
    layers = list(dict.fromkeys(rows["layer"]))
    means = means.sort_index()[layers]
    if len(layers) > 1 and float((means.max(axis=1) - means.min(axis=1)).max()) < LEAST_SPAN / 100:
        axis.plot(means.index, means.mean(axis=1), "o-", ms=3, color="black", lw=1.5, label="all alike")
    else:
        for colour, layer in zip(layer_colours(len(layers)), layers, strict=True):
            axis.plot(means.index, means[layer], "o-", ms=3, color=colour, lw=1.5, label=in_legend(layer))
    axis.set_xlabel("optimizer updates")
    axis.set_ylabel("entropy of the action given the past (nats)")
    axis.set_title(f"{rows['policy'].iloc[0]} over an episode", fontsize=10)
    axis.grid(alpha=0.3, lw=0.5)
    axis.legend(fontsize=8, title="layer group")
    _widen(axis)


def _widen(axis: Axes) -> None:
    low, high = axis.get_ylim()
    room = (LEAST_SPAN - (high - low)) / 2
    if room > 0:
        axis.set_ylim(low - room, high + room)
