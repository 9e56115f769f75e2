"""Pictures of learning rates over the layers and the time of an episode."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from l2o_env.pairs.spec import label
from l2o_env.results.plot_style import layer_colours, new_figure, new_panels, save_figure
from l2o_env.results.record import select_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


BAND = (0.1, 0.9)
"""Quantiles over episodes between which bands lie."""
MAX_PANELS = 6
"""Pairs or policies that a picture shows at most."""


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
    figure, axes = new_panels(len(shown), 3.3, 2.5, sharey=True)
    for axis, name in zip(axes, shown, strict=True):
        draw_rates(axis, select_rows(rows, name, None if pair is None else [pair]))
        axis.set_title(name, fontsize=10)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right center", frameon=False, title="layer group")
    figure.supxlabel("optimizer updates", fontsize=10)
    figure.supylabel("learning rate (log scale)", fontsize=10)
    more = "" if len(shown) == len(names) else f" ({len(shown)} of {len(names)} policies)"
    figure.suptitle(f"Policies side by side on {label(str(pair))}: mean and 10-90 % band{more}", fontsize=11)
    save_figure(figure, path)


def plot_actions(
    rows: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    policy: str | None = None,
    pairs: Sequence[str] | None = None,
) -> None:
    """Draws the learning rate of each layer group over an episode, one panel per pair.

    Lines are the geometric mean over episodes (rates are on a logarithmic axis), bands reach from the 10 % to the
    90 % quantile. Rates of 0 are left out of a mean, because a logarithmic axis has no place for them.

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
    shown = [str(name) for name in (rows["pair"].unique() if pairs is None else pairs)][:MAX_PANELS]
    n_columns = min(3, len(shown))
    n_rows = -(-len(shown) // n_columns)
    figure = new_figure(max(1.4 + 3.5 * n_columns, 6.4), 0.9 + 2.7 * n_rows, layout="constrained")
    axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    for axis, name in zip(axes.flat, shown, strict=False):
        mine = rows[rows["pair"] == name]
        draw_rates(axis, mine)
        axis.set_title(f"{label(name)} ({mine['seed'].nunique()} episodes)", fontsize=10)
    for i in range(len(shown), n_rows * n_columns):
        axes.flat[i].remove()
        axes.flat[i - n_columns].xaxis.set_tick_params(labelbottom=True)  # now the lowest panel of its column
    figure.supxlabel("optimizer updates", fontsize=10)
    figure.supylabel("learning rate (log scale)", fontsize=10)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    # Head first, as it usually lies on top in the panels too.
    figure.legend(handles[::-1], labels[::-1], loc="outside right center", frameon=False, title="layer group")
    figure.suptitle(f"{rows['policy'].iloc[0]}: learning rates per layer group (mean, 10-90 % band)", fontsize=11)
    save_figure(figure, path)


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
        axis.step(ends, _held(mean.to_numpy()), where="pre", color=colour, lw=width, label=layer)
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
