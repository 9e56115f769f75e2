"""Pictures of learning rates against the guidance gradient."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l2o_env.errors import ConfigError
from l2o_env.results.decimals import counted
from l2o_env.results.plot_style import in_legend, layer_colours, new_figure, save_figure
from l2o_env.results.record import select_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis


N_BINS = 8
"""Bins of a layer's line."""
N_BOOTSTRAP = 500
"""Resamples of the episodes for an interval."""
MAX_POINTS = 1500
"""Points of a picture, over all layers; more would hide the lines."""


def with_seen_guidance(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows whose rate answers to a guidance gradient, with that gradient's RMS as ``seen``.

    A rate is chosen after the window before it was observed, so the gradient is that of the step before; the first
    step of an episode has none. Rates and gradients of 0 are left out, because both are read in logarithms.
    """
    keys = ["policy", "pair", "sampled", "seed", "layer"]
    earlier = rows.sort_values("step", kind="stable").groupby(keys, sort=False)["guidance_rms"].shift(1)
    rows = rows.assign(seen=earlier)
    return rows[(rows["seen"] > 0) & (rows["lr"] > 0)]


def guidance_correlation(rows: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Spearman's rank correlation of a layer's rate with the guidance gradient seen before, over steps and episodes.

    Below 0 the policy lowers the rate where the guidance acts.

    Args:
        rows: What :func:`with_seen_guidance` returned, of one policy.
        seed: Seed of the bootstrap.

    Returns:
        One row per layer, and one named ``all layers``: ``layer``, ``rho``, and ``low`` and ``high``, its 95 % interval
        by a bootstrap over episodes; NaN for a rate that never changes.
    """
    rng = np.random.default_rng(seed)
    groups = [
        ("all layers", rows),
        *((str(name), rows[rows["layer"] == name]) for name in dict.fromkeys(rows["layer"])),
    ]
    correlations = []
    for name, group in groups:
        # Steps of an episode depend on each other, so that whole episodes are drawn.
        episodes = [steps[["lr", "seen"]].to_numpy() for _, steps in group.groupby(["pair", "seed"], sort=False)]
        resampled = []
        for _ in range(N_BOOTSTRAP):
            chosen = rng.integers(len(episodes), size=len(episodes))
            resampled.append(_spearman(np.concatenate([episodes[k] for k in chosen])))
        low, high = np.quantile(resampled, [0.025, 0.975])
        correlations.append({"layer": name, "rho": _spearman(np.concatenate(episodes)), "low": low, "high": high})
    return pd.DataFrame(correlations)


def _spearman(values: NDArray[np.float64]) -> float:
    """Rank correlation of two columns; NaN if one is constant."""
    from scipy.stats import rankdata

    x, y = (rankdata(column) for column in values.T)
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 else float("nan")


def plot_rate_against_guidance(
    rows: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    policy: str | None = None,
    pairs: Sequence[str] | None = None,
) -> None:
    """Draws rates against the guidance gradient that was seen before: does the policy slow down where the KL acts?

    Left: steps of episodes as points, and the geometric mean of the rate in bins of equal counts, by layer. Right:
    their rank correlations, with 95 % intervals by a bootstrap over episodes.

    Args:
        rows: A recording.
        path: Where the PNG goes.
        policy: Whose actions; None takes the first one recorded.
        pairs: Which pairs; None takes all.

    Raises:
        ConfigError: If the policy or a pair was not recorded, or there was no guidance.
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    rows = select_rows(rows, policy, pairs)
    seen = with_seen_guidance(rows)
    if not len(seen):
        raise ConfigError("No guidance gradient was recorded: the run had no guidance, or a single step.")
    layers = [str(name) for name in dict.fromkeys(rows["layer"])]
    # The colours that the layers have in the other pictures, also where one of them (the head) has no gradient here.
    colours = dict(zip(layers, layer_colours(len(layers)), strict=True))
    figure = new_figure(10.6, 4.4, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
    _draw_steps(left, seen, {name: colours[name] for name in layers if name in set(seen["layer"])})
    moved = set(rows["layer"][rows["lr"] > 0])
    without = {
        name: "no guidance gradient" if name in moved else "rate 0" for name in layers if name not in set(seen["layer"])
    }
    _draw_correlations(right, guidance_correlation(seen), colours, without)
    policy, n_episodes = rows["policy"].iloc[0], len(seen[["pair", "seed"]].drop_duplicates())
    figure.suptitle(f"{policy}: learning rate against guidance gradient, {counted(n_episodes, 'episode')}", fontsize=11)
    save_figure(figure, path)


def _draw_steps(axis: Axes, seen: pd.DataFrame, colours: Mapping[str, Any]) -> None:
    """Rates against the gradient seen before, as points and as the mean of bins, layer by layer."""
    rng = np.random.default_rng(0)
    for layer, colour in colours.items():
        mine = seen[seen["layer"] == layer]
        points = mine.iloc[rng.permutation(len(mine))[: MAX_POINTS // len(colours)]]
        axis.plot(points["seen"], points["lr"], ".", color=colour, ms=3, alpha=0.35, mew=0)
        x, y = binned(np.log(mine["seen"].to_numpy()), np.log(mine["lr"].to_numpy()), N_BINS)
        axis.plot(np.exp(x), np.exp(y), "o-", color=colour, ms=4, lw=1.8, label=in_legend(layer), mec="white", mew=0.5)
    axis.set(xscale="log", yscale="log")
    _few_ticks_if_narrow(axis.xaxis)
    _few_ticks_if_narrow(axis.yaxis)
    axis.set_xlabel("RMS of the guidance gradient seen before (per weight, log scale)")
    axis.set_ylabel("learning rate chosen (log scale)")
    axis.grid(alpha=0.3, lw=0.5)
    handles, labels = axis.get_legend_handles_labels()
    axis.legend(handles[::-1], labels[::-1], fontsize=8, title="layer group")


def _few_ticks_if_narrow(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis of less than a decade, where labels of minor ticks would collide."""
    from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

    low, high = axis.get_view_interval()
    if high < 10 * low:
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_locator(NullLocator())


def _draw_correlations(
    axis: Axes, correlations: pd.DataFrame, colours: Mapping[str, Any], without: Mapping[str, str]
) -> None:
    """Correlations with their intervals, line by line; layers `without` one say why."""
    for i, (_, row) in enumerate(correlations.iterrows()):
        colour = colours.get(row["layer"], "black")
        axis.hlines(i, row["low"], row["high"], color=colour, lw=2)
        axis.plot([row["rho"]], [i], "o", color=colour, ms=6)
        if np.isnan(row["rho"]):
            axis.text(0.02, i, "constant", va="center", fontsize=8)
    names = [*correlations["layer"], *without]
    for i, reason in enumerate(without.values(), start=len(correlations)):
        axis.text(0.02, i, reason, va="center", fontsize=8)
    axis.axvline(0, color="0.4", lw=1, ls="--")
    axis.set_xlim(-1, 1)
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlabel("Spearman's rank correlation\n(left of 0: lower rate where the guidance acts)")
    axis.grid(axis="x", alpha=0.3, lw=0.5)


def binned(x: NDArray[np.float64], y: NDArray[np.float64], n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of x and y in `n` bins of x with equal counts (fewer if there are fewer points)."""
    order = np.argsort(x, kind="stable")
    bins = np.array_split(order, max(min(n, len(order)), 1))
    return np.array([x[members].mean() for members in bins]), np.array([y[members].mean() for members in bins])
