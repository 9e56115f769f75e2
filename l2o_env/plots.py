"""Pictures of what policies do and of how they learn; safe for colour-blind readers, drawn without global state."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l2o_env.errors import unknown_name
from l2o_env.files import atomic_path
from l2o_env.pairs.spec import label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CATEGORICAL = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, which colour-blind readers can tell apart."""

MAX_PANELS = 6
BAND = (0.1, 0.9)
"""Quantiles between which the band of :func:`plot_actions` lies."""


def layer_colours(n: int) -> list[tuple[float, float, float, float]]:
    """Colours from dark (stem) to light (head); their lightness alone tells the order."""
    from matplotlib import colormaps

    # The last tenth of viridis is too pale for a thin line on white.
    return [tuple(colormaps["viridis"](x)) for x in np.linspace(0.0, 0.9, n)]


def new_figure(width: float, height: float, **kwargs: Any) -> Figure:
    """A figure of the given size in inches, with a canvas of its own instead of pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, **kwargs)
    FigureCanvasAgg(figure)
    return figure


def plot_actions(
    rows: pd.DataFrame | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    policy: str | None = None,
    pairs: Sequence[str] | None = None,
) -> None:
    """Draws the learning rate of each layer group over an episode, one panel per pair.

    Lines are the geometric mean over episodes (rates are on a logarithmic axis), bands reach from the 10 % to the
    90 % quantile. Rates of 0 are left out of a mean, because a logarithmic axis has no place for them.

    Args:
        rows: What :class:`l2o_env.record.StepRecorder` recorded, as a frame or as the path of its Parquet file.
        path: Where the PNG goes.
        policy: Whose actions; None takes the first one recorded.
        pairs: Which pairs, at most six; None takes the first six recorded.

    Raises:
        ConfigError: If the policy or a pair was not recorded.
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    import pandas as pd

    frame = rows if isinstance(rows, pd.DataFrame) else pd.read_parquet(rows)
    policies = [str(name) for name in frame["policy"].unique()]
    policy = policies[0] if policy is None and policies else policy
    if policy not in policies:
        raise unknown_name("policy in this recording", policy, policies)
    frame = frame[frame["policy"] == policy]
    recorded = [str(name) for name in frame["pair"].unique()]
    for name in pairs or ():
        if name not in recorded:
            raise unknown_name("pair in this recording", name, recorded)
    shown = list(recorded if pairs is None else pairs)[:MAX_PANELS]
    n_columns = min(3, len(shown))
    n_rows = -(-len(shown) // n_columns)
    figure = new_figure(max(1.4 + 3.5 * n_columns, 6.4), 0.9 + 2.7 * n_rows, layout="constrained")
    axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    for axis, name in zip(axes.flat, shown, strict=False):
        draw_rates(axis, frame[frame["pair"] == name])
        axis.set_title(f"{label(name)} ({_count(frame[frame['pair'] == name])} episodes)", fontsize=10)
    for i in range(len(shown), n_rows * n_columns):
        axes.flat[i].remove()
        axes.flat[i - n_columns].xaxis.set_tick_params(labelbottom=True)  # now the lowest panel of its column
    figure.supxlabel("optimizer updates", fontsize=10)
    figure.supylabel("learning rate (log scale)", fontsize=10)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    # Head first, as it usually lies on top in the panels too.
    figure.legend(handles[::-1], labels[::-1], loc="outside right center", frameon=False, title="layer group")
    figure.suptitle(f"{policy}: learning rates per layer group (mean, 10-90 % band)", fontsize=11)
    save_figure(figure, path)


def draw_rates(axis: Axes, frame: pd.DataFrame) -> None:
    """Draws one policy's rates on one pair: a line with a band for each layer; see :func:`plot_actions`."""
    layers = [str(name) for name in frame["layer"].unique()]
    for colour, layer in zip(layer_colours(len(layers)), layers, strict=True):
        mine = frame[(frame["layer"] == layer) & (frame["lr"] > 0)]
        logs = np.log10(mine["lr"]).groupby(mine["updates"].to_numpy())
        mean = logs.mean()
        # A rate holds for the window that ends at `updates`, so the first one starts at 0.
        ends = np.concatenate([[0.0], mean.index.to_numpy(float)])[: len(mean) and None]
        # Thinner towards the head: where layers have one rate, those below still show.
        width = 1.5 + 0.35 * (len(layers) - len(axis.lines) - 1)
        axis.step(ends, _held(mean.to_numpy()), where="pre", color=colour, lw=width, label=layer)
        low, high = (_held(logs.quantile(q).to_numpy()) for q in BAND)
        axis.fill_between(ends, low, high, step="pre", color=colour, alpha=0.22, lw=0)
    frozen = [name for name in layers if not (frame[frame["layer"] == name]["lr"] > 0).any()]
    if frozen:
        text = f"rate 0: {', '.join(frozen)}"
        axis.text(0.03, 0.04, text, transform=axis.transAxes, fontsize=8)
    axis.set_yscale("log")
    axis.grid(alpha=0.3, lw=0.5)


def _held(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rates from their logarithms, with the first one twice: at the start and at the end of its window."""
    return 10.0 ** np.concatenate([logs[:1], logs])


def _count(frame: pd.DataFrame) -> int:
    return len(frame[["seed"]].drop_duplicates())


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


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure as a PNG, all of it or nothing."""
    with atomic_path(Path(path)) as temporary:
        figure.savefig(temporary, format="png")
