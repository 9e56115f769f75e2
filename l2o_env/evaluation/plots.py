"""Pictures of an evaluation: who transfers where, and how sure that is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l2o_env.evaluation import aggregate
from l2o_env.evaluation.summary import primary
from l2o_env.pairs.spec import label
from l2o_env.results.plot_style import CATEGORICAL, new_figure, save_figure
from l2o_env.results.training_plots import running_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes


METRICS = {
    "real_accuracy": "real accuracy (share)",
    "v_return": "V-return (nats)",
    "proxy_accuracy": "proxy accuracy kept (share)",
}
"""What is scored, with its unit."""
MAX_PROFILES = 10
_NARROW = 1e-3
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))
_SELECTIONS = {"last": "o", "source": "D", "target-oracle": "^", "fixed": "s", "tuned": "P"}
"""Markers of the selections."""


def scored(results: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows of pairs on which everyone has a score (a pair without real images has no real accuracy)."""
    known = results.groupby("pair", sort=False)[column].apply(lambda values: bool(np.isfinite(values).all()))
    return results[results["pair"].isin(known[known].index)]


def limits(low: float, high: float, column: str) -> tuple[float, float]:
    """Limits of an axis or a colour bar for scores from `low` to `high`; some room around them where they are equal.

    Args:
        low: The smallest score.
        high: The largest.
        column: A name of ``METRICS``; shares stay between 0 and 1.
    """
    if high - low > _NARROW:
        return low, high
    found = low - 0.05, high + 0.05
    return found if column == "v_return" else (max(found[0], 0.0), min(found[1], 1.0))


def plot_transfer_matrix(results: pd.DataFrame, path: str | os.PathLike[str], column: str = "real_accuracy") -> None:
    """Draws policies (rows, with what they were trained on) by pairs (columns): mean and 95 % interval in each cell.

    Cells of pairs that a policy was trained on have a frame. The rows are those of ``summary.primary``.

    Args:
        results: The tidy table of an evaluation.
        path: Where the PNG goes.
        column: A name of ``METRICS``.

    Raises:
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    rows = scored(primary(results), column)
    policies, pairs = list(dict.fromkeys(rows["policy"])), list(dict.fromkeys(rows["pair"]))
    values = np.full((len(policies), len(pairs)), np.nan)
    texts = np.full(values.shape, "", dtype=object)
    trained = np.zeros(values.shape, np.bool_)
    for (policy, pair), cell in rows.groupby(["policy", "pair"], sort=False):
        i, j = policies.index(policy), pairs.index(pair)
        found = aggregate.mean(aggregate.score_matrix(cell, column))
        values[i, j] = found.value
        texts[i, j] = f"{found.value:z.2f}\n[{found.low:z.2f}, {found.high:z.2f}]"
        trained[i, j] = pair in str(cell["trained_on"].iloc[0]).split("+")
    labels = [_row_label(policy, rows[rows["policy"] == policy]) for policy in policies]
    figure = new_figure(3.6 + 0.95 * len(pairs), 2.1 + 0.47 * len(policies), layout="constrained")
    axis = figure.subplots()
    known = values[np.isfinite(values)]
    vmin, vmax = limits(known.min(), known.max(), column) if len(known) else (0.0, 1.0)
    image = axis.imshow(values, cmap="cividis", aspect="auto", vmin=vmin, vmax=vmax)
    _write_cells(axis, values, texts, trained, (vmin + vmax) / 2)
    axis.set_xticks(
        range(len(pairs)), [label(name) for name in pairs], rotation=35, ha="right", rotation_mode="anchor", fontsize=9
    )
    axis.set_yticks(range(len(policies)), labels, fontsize=9)
    axis.set_xlabel("evaluated on")
    axis.set_ylabel("policy (trained on)")
    figure.colorbar(image, ax=axis, label=METRICS[column], pad=0.01)
    n = len(rows) // max(len(policies) * len(pairs), 1)
    figure.suptitle(f"Mean and 95 % bootstrap interval, {n} runs a cell\nframed: trained on that very pair", fontsize=9)
    save_figure(figure, path)


def _write_cells(
    axis: Axes, values: NDArray[np.float64], texts: NDArray[Any], trained: NDArray[np.bool_], middle: float
) -> None:
    from matplotlib.patches import Rectangle

    for (i, j), text in np.ndenumerate(texts):
        colour = "white" if values[i, j] < middle else "black"
        axis.text(j, i, text, ha="center", va="center", fontsize=7.5, color=colour)
        if trained[i, j]:
            axis.add_patch(Rectangle((j - 0.47, i - 0.46), 0.94, 0.92, fill=False, ec=CATEGORICAL[1], lw=2.2))


def _row_label(policy: str, rows: pd.DataFrame) -> str:
    selection, names = rows["selection"].iloc[0], str(rows["trained_on"].iloc[0]).split("+")
    runs = rows["run"].nunique()
    text = f"{policy} x{runs}" if runs > 1 else policy
    if selection == "tuned":
        return f"{text} (each pair)"
    if names == [""]:
        return text
    shown = label(names[0]) if len(names) == 1 else f"{len(names)} pairs"
    return text if shown == policy else f"{text} ({shown})"


def plot_iqm(results: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Draws the interquartile mean over pairs and runs with stratified bootstrap intervals, of each selection.

    Args:
        results: The tidy table of an evaluation; deterministic actions are shown.
        path: Where the PNG goes.

    Raises:
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    results = results[results["mode"] == "deterministic"]
    policies = list(dict.fromkeys(results["policy"]))
    columns = [column for column in METRICS if len(scored(results, column))]
    figure = new_figure(2.2 + 3.0 * len(columns), 1.7 + 0.36 * len(policies), layout="constrained")
    axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    selections = [name for name in _SELECTIONS if name in set(results["selection"])]
    for axis, column in zip(axes, columns, strict=True):
        rows = scored(results, column)
        for i, policy in enumerate(policies):
            mine = rows[rows["policy"] == policy]
            present = [name for name in selections if name in set(mine["selection"])]
            for k, selection in enumerate(present):
                found = aggregate.iqm(aggregate.score_matrix(mine[mine["selection"] == selection], column))
                y = i + 0.22 * (k - (len(present) - 1) / 2)
                _draw_estimate(axis, found, y, selection)
        axis.set_xlabel(METRICS[column])
        axis.grid(axis="x", alpha=0.3, lw=0.5)
    axes[0].set_yticks(range(len(policies)), policies)
    axes[0].set_ylim(len(policies) - 0.5, -0.5)
    handles = [
        axes[0].plot([], [], _SELECTIONS[name], color=_colour(name), label=_selection_text(name))[0]
        for name in selections
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(selections), 3), frameon=False, fontsize=8)
    n = results["pair"].nunique()
    figure.suptitle(
        f"Interquartile mean over {n} pairs and their runs, 95 % stratified bootstrap interval", fontsize=10
    )
    save_figure(figure, path)


def _draw_estimate(axis: Axes, found: aggregate.Estimate, y: float, selection: str) -> None:
    colour = _colour(selection)
    axis.hlines(y, float(found.low), float(found.high), color=colour, lw=1.8)
    axis.plot([float(found.value)], [y], _SELECTIONS[selection], color=colour, ms=5)


def _colour(selection: str) -> str:
    return CATEGORICAL[list(_SELECTIONS).index(selection)]


def _selection_text(selection: str) -> str:
    return {
        "last": "last policy",
        "source": "selected on source validation",
        "target-oracle": "target oracle (reads the target)",
        "fixed": "hand-made",
        "tuned": "tuned on the very pair",
    }[selection]


def plot_profiles(results: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Draws performance profiles: the share of runs above each score, with pointwise 95 % bands.

    Trained policies come first, then the opponents with the highest interquartile mean, ten in all.

    Args:
        results: The tidy table of an evaluation.
        path: Where the PNG goes.

    Raises:
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    results = primary(results)
    columns = [column for column in ("real_accuracy", "v_return") if len(scored(results, column))]
    shown, n = _shown(results, columns[0])
    figure = new_figure(2.6 + 4.2 * len(columns), 4.2, layout="constrained")
    axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axis, column in zip(axes, columns, strict=True):
        rows = scored(results, column)
        # Diverged runs may lie far to the left; they count in every share, and need no room.
        low, high = np.quantile(rows[column], [0.02, 1.0])
        thresholds = np.linspace(*limits(low, high, column), 120)
        for i, policy in enumerate(shown):
            found = aggregate.profile(aggregate.score_matrix(rows[rows["policy"] == policy], column), thresholds, n=500)
            colour, dashes = CATEGORICAL[i % len(CATEGORICAL)], _DASHES[i // len(CATEGORICAL) % len(_DASHES)]
            axis.plot(thresholds, found.value, color=colour, ls=dashes, lw=1.7, label=policy)
            axis.fill_between(thresholds, found.low, found.high, color=colour, alpha=0.12, lw=0)
        axis.set_xlabel(f"{METRICS[column]} τ")
        axis.grid(alpha=0.3, lw=0.5)
    axes[0].set_ylabel("share of runs above τ")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    more = "" if len(shown) == n else f" ({len(shown)} of {n} policies)"
    figure.suptitle(f"Performance profiles over pairs and runs{more}", fontsize=10)
    save_figure(figure, path)


def _shown(results: pd.DataFrame, column: str) -> tuple[list[str], int]:
    """Policies to draw, trained ones first, and how many there are."""
    rows = scored(results, column)
    policies = list(dict.fromkeys(rows["policy"]))
    learned = list(dict.fromkeys(rows[rows["selection"].isin(("last", "source"))]["policy"]))
    means = {policy: float(rows[rows["policy"] == policy][column].median()) for policy in policies}
    others = sorted((policy for policy in policies if policy not in learned), key=lambda name: -means[name])
    return [*learned, *others][:MAX_PROFILES], len(policies)


def plot_improvement(
    results: pd.DataFrame, path: str | os.PathLike[str], reference: str, column: str = "real_accuracy"
) -> None:
    """Draws each policy's probability of improvement over a reference, averaged over pairs, with its 95 % interval.

    Args:
        results: The tidy table of an evaluation.
        path: Where the PNG goes.
        reference: Name of the policy to compare with.
        column: A name of ``METRICS``.

    Raises:
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    rows = scored(primary(results), column)
    scores = {name: aggregate.score_matrix(group, column) for name, group in rows.groupby("policy", sort=False)}
    others = [str(name) for name in scores if name != reference]
    figure = new_figure(7.2, 1.4 + 0.33 * max(len(others), 1), layout="constrained")
    axis = figure.subplots()
    for i, name in enumerate(others):
        found = aggregate.probability_of_improvement(scores[name], scores[reference])
        selection = rows[rows["policy"] == name]["selection"].iloc[0]
        _draw_estimate(axis, found, i, selection)
        axis.text(1.03, i, f"{found.value:.2f}", va="center", fontsize=8)
    axis.axvline(0.5, color="black", lw=1, ls="--")
    axis.set_xlim(-0.015, 1.015)
    axis.set_yticks(range(len(others)), others)
    axis.set_ylim(len(others) - 0.5, -0.5)
    axis.set_xlabel(f"P(policy > {reference}) by {METRICS[column].rsplit(' (', 1)[0]}, mean over pairs")
    axis.grid(axis="x", alpha=0.3, lw=0.5)
    save_figure(figure, path)


def plot_curves(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: str | os.PathLike[str]) -> None:
    """Draws learning curves of several policies: the running mean of the training return over episodes.

    Args:
        curves: Episodes so far and mean return of each update, by policy.
        path: Where the PNG goes.

    Raises:
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    figure = new_figure(8.2, 4.0, layout="constrained")
    axis = figure.subplots()
    for i, (name, (episodes, returns)) in enumerate(curves.items()):
        values = running_mean(np.asarray(returns, float), max(3, len(returns) // 10))
        colour, dashes = CATEGORICAL[i % len(CATEGORICAL)], _DASHES[i // len(CATEGORICAL) % len(_DASHES)]
        axis.plot(episodes, values, color=colour, ls=dashes, lw=1.7, label=name)
    axis.set_xlabel("training episodes")
    axis.set_ylabel("return (unit of the reward), running mean")
    axis.grid(alpha=0.3, lw=0.5)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    save_figure(figure, path)
