"""Pictures of what policies do: rates over layers and time, against the guidance, side by side, and their entropy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l2o_env.errors import ConfigError, unknown_name
from l2o_env.pairs.spec import label
from l2o_env.plots import (
    CATEGORICAL,
    MAX_PANELS,
    draw_rates,
    layer_colours,
    new_figure,
    running_mean,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

N_BINS = 8
N_BOOTSTRAP = 500
MAX_POINTS = 1500


def choose(rows: pd.DataFrame, policy: str | None = None, pairs: Sequence[str] | None = None) -> pd.DataFrame:
    """The deterministic rows of one policy (None: the first recorded) on some pairs (None: all), or sampled if only so.

    Raises:
        ConfigError: If nothing is recorded, or the policy or a pair was not.
    """
    policies = [str(name) for name in rows["policy"].unique()]
    if not policies:
        raise ConfigError("The recording is empty; was the run cut off before its first evaluated episode?")
    policy = policies[0] if policy is None else policy
    if policy not in policies:
        raise unknown_name("policy in this recording", policy, policies)
    mine = rows[rows["policy"] == policy]
    recorded = [str(name) for name in mine["pair"].unique()]
    for name in pairs or ():
        if name not in recorded:
            raise unknown_name("pair in this recording", name, recorded)
    mine = mine[mine["pair"].isin(recorded if pairs is None else pairs)]
    return mine if mine["sampled"].all() else mine[~mine["sampled"]]


def plot_heatmap(
    rows: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    policy: str | None = None,
    pairs: Sequence[str] | None = None,
) -> None:
    """Draws the learning rate of each layer (rows) over an episode (columns), one panel per pair, at most six.

    A cell is the geometric mean over episodes; rates of 0 are left out of it, and a cell without any is hatched.

    Args:
        rows: A recording (:func:`l2o_env.record.read_recording`).
        path: Where the PNG goes.
        policy: Whose actions; None takes the first one recorded.
        pairs: Which pairs; None takes the first six recorded.

    Raises:
        ConfigError: If the policy or a pair was not recorded.
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    from matplotlib.colors import LogNorm

    rows = choose(rows, policy, pairs)
    names = [str(name) for name in rows["pair"].unique()][:MAX_PANELS]
    tables = {name: _mean_rates(rows[rows["pair"] == name]) for name in names}
    known = np.concatenate([table.to_numpy().reshape(-1) for table in tables.values()])
    known = known[np.isfinite(known)]
    low, high = (known.min(), known.max()) if len(known) else (1e-4, 1.0)
    norm = LogNorm(low, high * (1 + 1e-9) if low < high else low * 10)
    figure, axes = _panels(len(names), 3.6, 2.4, sharey=False)
    image = None
    for axis, name in zip(axes, names, strict=False):
        table = tables[name]
        ends = np.concatenate([[0.0], table.columns.to_numpy(float)])
        axis.set_facecolor("0.85")
        image = axis.pcolormesh(ends, np.arange(len(table) + 1), table.to_numpy(), cmap="cividis", norm=norm)
        axis.set_yticks(np.arange(len(table)) + 0.5, list(table.index), fontsize=8)
        axis.invert_yaxis()  # the input on top, as networks are read
        axis.set_title(label(name), fontsize=10)
    assert image is not None
    figure.colorbar(image, ax=list(axes), label="learning rate (geometric mean, log scale)", pad=0.01)
    figure.supxlabel("optimizer updates", fontsize=10)
    figure.supylabel("layer group, from the input to the head", fontsize=10)
    figure.suptitle(f"{rows['policy'].iloc[0]}: learning rate of each layer over an episode; grey: rate 0", fontsize=11)
    save_figure(figure, path)


def _mean_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """Geometric mean rates, layers by updates; NaN where all are 0."""
    layers = list(dict.fromkeys(rows["layer"]))
    updates = np.sort(rows["updates"].unique())
    logs = np.log(rows["lr"].where(rows["lr"] > 0))
    means = logs.groupby([rows["layer"], rows["updates"]]).mean().unstack()
    return np.exp(means.reindex(index=layers, columns=updates))


def _panels(n: int, width: float, height: float, **kwargs: Any) -> tuple[Figure, list[Axes]]:
    """A figure of `n` panels, three in a row at most."""
    n_columns = min(3, n)
    n_rows = -(-n // n_columns)
    figure = new_figure(max(1.6 + width * n_columns, 6.4), 1.2 + height * n_rows, layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False, sharex=False, **kwargs)
    for axis in list(axes.flat)[n:]:
        axis.remove()
    return figure, list(axes.flat)[:n]


def plot_policies(
    rows: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    pair: str | None = None,
    policies: Sequence[str] | None = None,
) -> None:
    """Draws the rates of several policies on one pair side by side, on common axes.

    Args:
        rows: A recording.
        path: Where the PNG goes.
        pair: The pair; None takes the first one recorded.
        policies: Which policies, at most six; None takes the first six recorded.

    Raises:
        ConfigError: If a policy or the pair was not recorded.
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    names = [str(name) for name in rows["policy"].unique()] if policies is None else list(policies)
    recorded = [str(name) for name in rows["pair"].unique()]
    pair = recorded[0] if pair is None and recorded else pair
    shown = names[:MAX_PANELS]
    parts = [choose(rows, name, None if pair is None else [pair]) for name in shown]
    figure, axes = _panels(len(shown), 3.3, 2.5, sharey=True)
    for axis, name, part in zip(axes, shown, parts, strict=True):
        draw_rates(axis, part)
        axis.set_title(name, fontsize=10)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right center", frameon=False, title="layer group")
    figure.supxlabel("optimizer updates", fontsize=10)
    figure.supylabel("learning rate (log scale)", fontsize=10)
    more = "" if len(shown) == len(names) else f" ({len(shown)} of {len(names)} policies)"
    figure.suptitle(f"Policies side by side on {label(str(pair))}: mean and 10-90 % band{more}", fontsize=11)
    save_figure(figure, path)


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
    found = []
    for name, group in groups:
        episodes = [part[["lr", "seen"]].to_numpy() for _, part in group.groupby(["pair", "seed"], sort=False)]
        drawn = []
        for _ in range(N_BOOTSTRAP):
            chosen = rng.integers(len(episodes), size=len(episodes))
            drawn.append(_spearman(np.concatenate([episodes[k] for k in chosen])))
        low, high = np.quantile(drawn, [0.025, 0.975])
        found.append({"layer": name, "rho": _spearman(np.concatenate(episodes)), "low": low, "high": high})
    return pd.DataFrame(found)


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
    chosen = choose(rows, policy, pairs)
    seen = with_seen_guidance(chosen)
    if not len(seen):
        raise ConfigError("No guidance gradient was recorded: the run had no guidance, or a single step.")
    every = [str(name) for name in dict.fromkeys(chosen["layer"])]
    # The colours that the layers have in the other pictures; the head has no guidance gradient.
    colours = dict(zip(every, layer_colours(len(every)), strict=True))
    layers = [name for name in every if name in set(seen["layer"])]
    figure = new_figure(10.6, 4.4, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
    rng = np.random.default_rng(0)
    for layer in layers:
        colour = colours[layer]
        mine = seen[seen["layer"] == layer]
        points = mine.iloc[rng.permutation(len(mine))[: MAX_POINTS // len(layers)]]
        left.plot(points["seen"], points["lr"], ".", color=colour, ms=3, alpha=0.35, mew=0)
        x, y = binned(np.log(mine["seen"].to_numpy()), np.log(mine["lr"].to_numpy()), N_BINS)
        left.plot(np.exp(x), np.exp(y), "o-", color=colour, ms=4, lw=1.8, label=layer, mec="white", mew=0.5)
    left.set(xscale="log", yscale="log")
    _few_ticks_if_narrow(left.xaxis)
    _few_ticks_if_narrow(left.yaxis)
    left.set_xlabel("RMS of the guidance gradient seen before (per weight, log scale)")
    left.set_ylabel("learning rate chosen (log scale)")
    left.grid(alpha=0.3, lw=0.5)
    handles, labels = left.get_legend_handles_labels()
    left.legend(handles[::-1], labels[::-1], fontsize=8, title="layer group")
    _draw_correlations(right, guidance_correlation(seen), colours)
    name, n = chosen["policy"].iloc[0], len(seen[["pair", "seed"]].drop_duplicates())
    figure.suptitle(f"{name}: learning rate against guidance gradient, {n} episodes", fontsize=11)
    save_figure(figure, path)


def _few_ticks_if_narrow(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis of less than a decade, where labels of minor ticks would collide."""
    from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

    low, high = axis.get_view_interval()
    if high < 10 * low:
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_locator(NullLocator())


def _draw_correlations(axis: Axes, found: pd.DataFrame, colours: Mapping[str, Any]) -> None:
    for i, (_, row) in enumerate(found.iterrows()):
        colour = colours.get(row["layer"], "black")
        axis.hlines(i, row["low"], row["high"], color=colour, lw=2)
        axis.plot([row["rho"]], [i], "o", color=colour, ms=6)
        if np.isnan(row["rho"]):
            axis.text(0.02, i, "constant", va="center", fontsize=8)
    axis.axvline(0, color="0.4", lw=1, ls="--")
    axis.set_xlim(-1, 1)
    axis.set_yticks(range(len(found)), list(found["layer"]), fontsize=9)
    axis.set_ylim(len(found) - 0.5, -0.5)
    axis.set_xlabel("Spearman's rank correlation\n(left of 0: lower rate where the guidance acts)")
    axis.grid(axis="x", alpha=0.3, lw=0.5)


def binned(x: NDArray[np.float64], y: NDArray[np.float64], n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of x and y in `n` bins of x with equal counts (fewer if there are fewer points)."""
    order = np.argsort(x, kind="stable")
    parts = np.array_split(order, max(min(n, len(order)), 1))
    return np.array([x[part].mean() for part in parts]), np.array([y[part].mean() for part in parts])


def plot_entropy(
    training: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    path: str | os.PathLike[str],
    rows: pd.DataFrame | None = None,
) -> None:
    """Draws the entropy of the policy's actions: over training, and of each layer over an episode.

    Args:
        training: Episodes so far and entropy (nats per layer) of each update, by policy; may be empty.
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
            axis.plot(episodes, smooth, color=CATEGORICAL[i % len(CATEGORICAL)], lw=1.8, label=name)
        axis.set_xlabel("training episodes")
        axis.set_ylabel("entropy of a layer's action (nats)")
        axis.set_title("over training", fontsize=10)
        axis.grid(alpha=0.3, lw=0.5)
        axis.legend(fontsize=8)
    if within and known is not None:
        _draw_entropy(axes.pop(0), known)
    save_figure(figure, path)


def _draw_entropy(axis: Axes, rows: pd.DataFrame) -> None:
    layers = list(dict.fromkeys(rows["layer"]))
    for i, (colour, layer) in enumerate(zip(layer_colours(len(layers)), layers, strict=True)):
        means = rows[rows["layer"] == layer].groupby("updates")["entropy"].mean()
        # Layers may lie on each other; thinner lines on top leave those below to be seen.
        axis.plot(means.index, means, color=colour, lw=1.5 + 1.2 * (len(layers) - i - 1), label=layer)
    axis.set_xlabel("optimizer updates")
    axis.set_ylabel("entropy of the action given the past (nats)")
    axis.set_title(f"{rows['policy'].iloc[0]} over an episode", fontsize=10)
    axis.grid(alpha=0.3, lw=0.5)
    axis.legend(fontsize=8, title="layer group")
