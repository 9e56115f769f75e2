"""Pictures of learning rates over the layers and the time of an episode."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from l2o_env.pairs.spec import label
from l2o_env.results.decimals import counted
from l2o_env.results.plot_style import few_log_ticks, in_legend, layer_colours, new_figure, new_panels, save_figure
from l2o_env.results.record import select_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


BAND = (0.1, 0.9)
"""Quantiles over episodes between which bands lie."""
MAX_PANELS = 6
"""Pairs or policies that a picture shows at most."""
ALIKE = 0.05
"""Decades by which the rates of two policies differ at most (root mean square) to share a panel."""


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
        rows: A recording (:func:`l2o_env.results.record.read_recording`).
        path: Where the PNG goes.
        policy: Whose actions; None takes the first one recorded.
        pairs: Which pairs; None takes the first six recorded.

    Raises:
        ConfigError: If the policy or a pair was not recorded.
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    from matplotlib.colors import LogNorm

    rows = select_rows(rows, policy, pairs)
    names = [str(name) for name in rows["pair"].unique()][:MAX_PANELS]
    tables = {name: _mean_rates(rows[rows["pair"] == name]) for name in names}
    known = np.concatenate([table.to_numpy().reshape(-1) for table in tables.values()])
    known = known[np.isfinite(known)]
    low, high = (known.min(), known.max()) if len(known) else (1e-4, 1.0)
    norm = LogNorm(low, high * (1 + 1e-9) if low < high else low * 10)
    figure, axes = new_panels(len(names), 3.6, 2.4, sharey=False)
    image = None
    for axis, name in zip(axes, names, strict=False):
        table = tables[name]
        ends = np.concatenate([[0.0], table.columns.to_numpy(float)])
        axis.patch.set(facecolor="white", edgecolor="0.4", hatch="///")  # no colour of the scale
        image = axis.pcolormesh(ends, np.arange(len(table) + 1), table.to_numpy(), cmap="viridis", norm=norm)
        axis.set_yticks(np.arange(len(table)) + 0.5, list(table.index), fontsize=8)
        axis.invert_yaxis()  # the input on top, as networks are read
        axis.set_title(label(name), fontsize=10)
    assert image is not None
    bar = figure.colorbar(image, ax=list(axes), label="learning rate (geometric mean, log scale)", pad=0.01)
    few_log_ticks(bar.ax.yaxis)
    figure.supxlabel("optimizer updates", fontsize=10)
    figure.supylabel("layer group, from the input to the head", fontsize=10)
    frozen = "; hatched: rate 0" if any(table.isna().to_numpy().any() for table in tables.values()) else ""
    more = _how_many(len(names), rows["pair"].nunique(), "pairs")
    title = f"{rows['policy'].iloc[0]}: learning rate of each layer over an episode{frozen}{more}"
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def _mean_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """Geometric mean rates, layers by updates; NaN where all are 0."""
    layers = list(dict.fromkeys(rows["layer"]))
    updates = np.sort(rows["updates"].unique())
    logs = np.log(rows["lr"].where(rows["lr"] > 0))
    means = logs.groupby([rows["layer"], rows["updates"]]).mean().unstack()
    return np.exp(means.reindex(index=layers, columns=updates))


def plot_policies(
    rows: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    pair: str | None = None,
    policies: Sequence[str] | None = None,
) -> None:
    """Draws the rates of several policies on one pair side by side, on common axes.

    Policies with nearly the same rates (``ALIKE``) share a panel.

    Args:
        rows: A recording.
        path: Where the PNG goes.
        pair: The pair; None takes the first one recorded.
        policies: Which policies; None takes all. The first six that differ are drawn.

    Raises:
        ConfigError: If a policy or the pair was not recorded.
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    names = [str(name) for name in rows["policy"].unique()] if policies is None else list(policies)
    recorded = [str(name) for name in rows["pair"].unique()]
    pair = recorded[0] if pair is None and recorded else pair
    rates = {name: select_rows(rows, name, None if pair is None else [pair]) for name in names}
    alike = _alike(rates)
    shown = list(alike)[:MAX_PANELS]
    figure = _draw_panels({_titled(name, alike[name]): rates[name] for name in shown})
    more = _how_many(len(shown), len(alike), "that differ")
    figure.suptitle(f"Policies side by side on {label(str(pair))}: mean and 10-90 % band{more}", fontsize=11)
    save_figure(figure, path)


def _alike(rates: dict[str, pd.DataFrame]) -> dict[str, list[str]]:
    """Policies to draw, each with those that do nearly the same."""
    logs = {name: _mean_rates(rows).map(np.log10) for name, rows in rates.items()}
    groups: dict[str, list[str]] = {}
    for name, mine in logs.items():
        for shown, others in groups.items():
            theirs = logs[shown]
            same = mine.index.equals(theirs.index) and mine.columns.equals(theirs.columns)
            if same and mine.isna().equals(theirs.isna()) and np.nanmean((mine - theirs) ** 2) < ALIKE**2:
                others.append(name)
                break
        else:
            groups[name] = []
    return groups


def _titled(name: str, others: Sequence[str]) -> str:
    """Title of a panel: who is drawn, and who does nearly the same."""
    if not others:
        return name
    return f"{name}\nand {others[0] if len(others) == 1 else f'{len(others)} others'}, nearly the same"


def _how_many(shown: int, n: int, what: str) -> str:
    return "" if shown == n else f" ({shown} of {n} {what})"


def plot_actions(
    rows: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    policy: str | None = None,
    pairs: Sequence[str] | None = None,
) -> None:
    """Draws the learning rate of each layer group over an episode, one panel per pair.

    Lines are the geometric mean over episodes (rates are on a logarithmic axis), bands reach from the 10 % to the
    90 % quantile. Rates of 0 are left out of a mean, because a logarithmic axis has no place for them. Where the
    weight of the guidance changes, it is drawn below.

    Args:
        rows: A recording.
        path: Where the PNG goes.
        policy: Whose actions; None takes the first one recorded.
        pairs: Which pairs, at most six; None takes the first six recorded.

    Raises:
        ConfigError: If the policy or a pair was not recorded.
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    rows = select_rows(rows, policy, pairs)
    names = [str(name) for name in (rows["pair"].unique() if pairs is None else pairs)]
    by_pair = {name: rows[rows["pair"] == name] for name in names[:MAX_PANELS]}
    figure = _draw_panels(
        {f"{label(k)} ({counted(mine['seed'].nunique(), 'episode')})": mine for k, mine in by_pair.items()}
    )
    more = _how_many(len(by_pair), len(names), "pairs")
    title = f"{rows['policy'].iloc[0]}: learning rates per layer group (mean, 10-90 % band){more}"
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def _draw_panels(rows: dict[str, pd.DataFrame]) -> Figure:
    """A panel of rates for each title, three in a row at most, on common axes; below it the weight of the guidance.

    A weight that is the same throughout has no panel.
    """
    with_weight = _weight_varies(rows)
    n_columns = min(3, len(rows))
    n_rows = -(-len(rows) // n_columns)
    figure = new_figure(
        max(1.4 + 3.5 * n_columns, 6.4), 0.9 + (3.6 if with_weight else 2.7) * n_rows, layout="constrained"
    )
    grid = figure.add_gridspec(n_rows * (1 + with_weight), n_columns, height_ratios=[3, 1][: 1 + with_weight] * n_rows)
    panels: list[Axes] = []
    weights: list[Axes] = []
    for k, (title, mine) in enumerate(rows.items()):
        row, column = k // n_columns * (1 + with_weight), k % n_columns
        first = panels[0] if panels else None
        axis = figure.add_subplot(grid[row, column], sharex=first, sharey=first)
        panels.append(axis)
        draw_rates(axis, mine)
        axis.set_title(title, fontsize=10)
        lowest = k + n_columns >= len(rows)
        axis.tick_params(labelleft=column == 0, labelbottom=lowest and not with_weight)
        if with_weight:
            below = figure.add_subplot(grid[row + 1, column], sharex=axis, sharey=weights[0] if weights else None)
            weights.append(below)
            _draw_weight(below, mine)
            below.tick_params(labelleft=column == 0, labelbottom=lowest)
            if column == 0:
                below.set_ylabel("weight λ of\nthe guidance", fontsize=8)
    few_log_ticks(panels[0].yaxis)
    if with_weight:
        few_log_ticks(weights[0].yaxis)
    figure.supxlabel("optimizer updates", fontsize=10)
    figure.supylabel("learning rate (log scale)", fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    # Head first, as it usually lies on top in the panels too.
    figure.legend(handles[::-1], labels[::-1], loc="outside right center", frameon=False, title="layer group")
    return figure


def _weight_varies(rows: dict[str, pd.DataFrame]) -> bool:
    weights = [mine["guidance_weight"].to_numpy(float) for mine in rows.values() if "guidance_weight" in mine]
    return bool(weights) and bool(np.ptp(np.concatenate(weights)) > 0)


def _draw_weight(axis: Axes, rows: pd.DataFrame) -> None:
    """Draws the weight of the guidance over an episode: its mean, and a band over episodes."""
    one_layer = rows[rows["layer"] == rows["layer"].iloc[0]]
    weights = one_layer["guidance_weight"].groupby(one_layer["updates"].to_numpy())
    mean = weights.mean()
    ends = np.concatenate([[0.0], mean.index.to_numpy(float)])
    low, mean, high = (np.concatenate([line[:1], line]) for line in (
        weights.quantile(BAND[0]).to_numpy(), mean.to_numpy(), weights.quantile(BAND[1]).to_numpy()
    ))  # fmt: skip
    axis.step(ends, mean, where="pre", color="black", lw=1.5)
    axis.fill_between(ends, low, high, step="pre", color="black", alpha=0.18, lw=0)
    if mean.min() > 0:
        axis.set_yscale("log")
    axis.grid(alpha=0.3, lw=0.5)


def draw_rates(axis: Axes, rows: pd.DataFrame) -> None:
    """Draws one policy's rates on one pair: a line with a band for each layer; see :func:`plot_actions`."""
    layers = [str(name) for name in rows["layer"].unique()]
    for colour, layer in zip(layer_colours(len(layers)), layers, strict=True):
        mine = rows[(rows["layer"] == layer) & (rows["lr"] > 0)]
        logs = np.log10(mine["lr"]).groupby(mine["updates"].to_numpy())
        mean = logs.mean()
        # A rate holds for the window that ends at `updates`, so the first one starts at 0.
        ends = np.concatenate([[0.0], mean.index.to_numpy(float)])[: len(mean) and None]
        # Thinner towards the head: where layers have one rate, those below still show.
        width = 1.5 + 0.35 * (len(layers) - len(axis.lines) - 1)
        axis.step(ends, _held(mean.to_numpy()), where="pre", color=colour, lw=width, label=in_legend(layer))
        low, high = (_held(logs.quantile(q).to_numpy()) for q in BAND)
        axis.fill_between(ends, low, high, step="pre", color=colour, alpha=0.22, lw=0)
    frozen = [name for name in layers if not (rows[rows["layer"] == name]["lr"] > 0).any()]
    if frozen:
        text = f"rate 0: {', '.join(frozen)}"
        axis.text(0.03, 0.04, text, transform=axis.transAxes, fontsize=8)
    axis.set_yscale("log")
    axis.grid(alpha=0.3, lw=0.5)


def _held(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rates from their logarithms, with the first one twice: at the start and at the end of its window."""
    return 10.0 ** np.concatenate([logs[:1], logs])
