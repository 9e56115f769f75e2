"""Pictures of an evaluation: who transfers where, and how sure that is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from l2o_env.evaluation import aggregate
from l2o_env.evaluation.aggregate import Estimate
from l2o_env.evaluation.results_view import COMPARED, DRAWN, METRICS, Group, MetricView, ResultsView
from l2o_env.pairs.spec import label
from l2o_env.results.plot_style import CATEGORICAL, in_legend, line_style, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MAX_PROFILES = 6
"""Policies of the performance profiles; more lines could not be told apart."""
_NARROW = 1e-3
_DIVERGING = ("#F3B36B", "#FFFFFF", "#8CC3EC")
"""Below and above; light, so that black text is read on all of it."""


class _Style(NamedTuple):
    """How a selection is drawn, and what the legend calls it."""

    marker: str
    colour: str
    text: str


_SELECTIONS = {
    "last": _Style("o", CATEGORICAL[0], "last policy"),
    "source": _Style("D", CATEGORICAL[1], "selected on source validation"),
    "target-oracle": _Style("^", CATEGORICAL[2], "target oracle (reads the target)"),
    "fixed": _Style("s", CATEGORICAL[3], "hand-made"),
    "tuned": _Style("P", CATEGORICAL[4], "tuned on the very pair"),
}


def limits(low: float, high: float, metric: str) -> tuple[float, float]:
    """Limits of an axis for scores from `low` to `high`; some room around them where they are equal.

    Args:
        low: The smallest score.
        high: The largest.
        metric: A name of ``METRICS``; shares stay between 0 and 1.
    """
    if high - low > _NARROW:
        return low, high
    wider = low - 0.05, high + 0.05
    return (max(wider[0], 0.0), min(wider[1], 1.0)) if METRICS[metric].endswith("(share)") else wider


def plot_transfer_matrix(results: ResultsView, path: str | os.PathLike[str], metric: str = "real_accuracy") -> None:
    """Draws policies (rows, with what they were trained on) by pairs (columns): mean and 95 % interval in each cell.

    Colours compare the policies on each pair: they show by how much a mean is above or below the median of its column.
    Cells of pairs that a policy was trained on have a frame. The rows are those of ``summary.primary``.

    Args:
        results: The evaluation, with scores for the metric.
        path: Where the PNG goes.
        metric: A name of ``METRICS``.

    Raises:
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    from matplotlib.colors import LinearSegmentedColormap

    rows, means = results.metrics[metric].primary, results.metrics[metric].means
    policies, pairs = list(dict.fromkeys(rows["policy"])), list(dict.fromkeys(rows["pair"]))
    values = np.full((len(policies), len(pairs)), np.nan)
    for (policy, pair), mean in means.items():
        values[policies.index(policy), pairs.index(pair)] = mean.value
    difference = values - np.nanmedian(values, axis=0)
    # One policy that fails everywhere is to leave the others some colour.
    top = max(float(np.nanquantile(np.abs(difference), 0.95)), _NARROW)
    figure = new_figure(3.4 + 0.64 * len(pairs), 1.9 + 0.5 * len(policies), layout="constrained")
    axis = figure.subplots()
    colours = LinearSegmentedColormap.from_list("difference", _DIVERGING)
    image = axis.imshow(difference, cmap=colours, aspect="auto", vmin=-top, vmax=top)
    for (policy, pair), mean in means.items():
        i, j = policies.index(policy), pairs.index(pair)
        axis.text(j, i - 0.18, f"{mean.value:.2f}", ha="center", va="center", fontsize=10)
        half_width = (float(mean.high) - float(mean.low)) / 2
        axis.text(j, i + 0.24, f"±{half_width:.2f}", ha="center", va="center", fontsize=8)
        if results.was_trained_on(policy, pair):
            _frame_cell(axis, i, j)
    pair_labels = [label(name) for name in pairs]
    axis.set_xticks(range(len(pairs)), pair_labels, rotation=35, ha="right", rotation_mode="anchor", fontsize=9)
    policy_labels = [_row_label(policy, rows[rows["policy"] == policy]) for policy in policies]
    axis.set_yticks(range(len(policies)), policy_labels, fontsize=9)
    axis.set_xlabel("evaluated on")
    axis.set_ylabel("policy (trained on)")
    text = "minus the median of the pair"
    figure.colorbar(image, ax=axis, label=text, extend="both", extendfrac=0.02, aspect=40, pad=0.01)
    n = len(rows) // (len(policies) * len(pairs))
    title = f"{METRICS[metric]}: mean and half of its\n95 % bootstrap interval, {n} runs a cell;\nframed: trained on it"
    figure.suptitle(title, fontsize=9)
    save_figure(figure, path)


def _frame_cell(axis: Axes, i: int, j: int) -> None:
    from matplotlib.patches import Rectangle

    axis.add_patch(Rectangle((j - 0.46, i - 0.45), 0.92, 0.9, fill=False, ec="black", lw=1.6))


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


def plot_iqm(results: ResultsView, path: str | os.PathLike[str]) -> None:
    """Draws the interquartile mean over pairs and runs with stratified bootstrap intervals, of each selection.

    Args:
        results: The evaluation; deterministic actions are shown.
        path: Where the PNG goes.

    Raises:
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    groups = [group for group in results.groups if group.mode == "deterministic"]
    policies = list(dict.fromkeys(group.policy for group in groups))
    selections = [name for name in _SELECTIONS if name in {group.selection for group in groups}]
    columns = [results.metrics[name] for name in DRAWN if results.metrics[name].scores.keys() & set(groups)]
    figure = new_figure(2.2 + 3.0 * len(columns), 1.7 + 0.36 * len(policies), layout="constrained")
    axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axis, metric in zip(axes, columns, strict=True):
        for i, policy in enumerate(policies):
            estimates = {name: metric.iqm.get(Group(policy, name, "deterministic")) for name in selections}
            present = {name: estimate for name, estimate in estimates.items() if estimate is not None}
            for k, (selection, estimate) in enumerate(present.items()):
                _draw_estimate(axis, estimate, i + 0.22 * (k - (len(present) - 1) / 2), selection)
        axis.set_xlabel(METRICS[metric.name])
        axis.grid(axis="x", alpha=0.3, lw=0.5)
    axes[0].set_yticks(range(len(policies)), policies)
    axes[0].set_ylim(len(policies) - 0.5, -0.5)
    styles = [_SELECTIONS[name] for name in selections]
    handles = [axes[0].plot([], [], style.marker, color=style.colour, label=style.text)[0] for style in styles]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(selections), 3), frameon=False, fontsize=8)
    title = f"Interquartile mean over {len(results.pairs)} pairs and their runs, 95 % stratified bootstrap interval"
    figure.suptitle(title, fontsize=10)
    save_figure(figure, path)


def _draw_estimate(axis: Axes, estimate: Estimate, y: float, selection: str) -> None:
    style = _SELECTIONS[selection]
    axis.hlines(y, float(estimate.low), float(estimate.high), color=style.colour, lw=1.8)
    axis.plot([float(estimate.value)], [y], style.marker, color=style.colour, ms=5)


def plot_profiles(results: ResultsView, path: str | os.PathLike[str]) -> None:
    """Draws performance profiles: the share of runs above each score, with pointwise 95 % bands.

    Trained policies come first, then the opponents with the highest median, six in all.

    Args:
        results: The evaluation.
        path: Where the PNG goes.

    Raises:
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    columns = [results.metrics[name] for name in COMPARED if name in results.scored]
    shown, n = _shown(columns[0])
    figure = new_figure(2.6 + 4.2 * len(columns), 4.2, layout="constrained")
    axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axis, metric in zip(axes, columns, strict=True):
        # Diverged runs may lie far to the left; they count in every share, and need no room.
        drawn = metric.primary[metric.primary["policy"].isin(shown)]
        low, high = np.quantile(drawn[metric.name], [0.02, 1.0])
        thresholds = np.linspace(*limits(low, high, metric.name), 120)
        for i, policy in enumerate(shown):
            shares = aggregate.profile(metric.primary_scores[policy], thresholds, n=500)
            style = line_style(i)
            axis.plot(thresholds, shares.value, **style, lw=1.7, label=in_legend(policy))
            axis.fill_between(thresholds, shares.low, shares.high, color=style["color"], alpha=0.12, lw=0)
        axis.set_xlabel(f"{METRICS[metric.name]} τ")
        axis.grid(alpha=0.3, lw=0.5)
    axes[0].set_ylabel("share of runs above τ")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    more = "" if len(shown) == n else f" ({len(shown)} of {n} policies)"
    figure.suptitle(f"Performance profiles over pairs and runs{more}", fontsize=10)
    save_figure(figure, path)


def _shown(metric: MetricView) -> tuple[list[str], int]:
    """Policies to draw, trained ones first, and how many there are."""
    medians = {str(policy): rows[metric.name].median() for policy, rows in metric.primary.groupby("policy", sort=False)}
    trained = metric.primary[metric.primary["selection"].isin(("last", "source"))]
    learned = [str(policy) for policy in dict.fromkeys(trained["policy"])]
    others = sorted((policy for policy in medians if policy not in learned), key=lambda policy: -medians[policy])
    return [*learned, *others][:MAX_PROFILES], len(medians)


def plot_improvement(results: ResultsView, path: str | os.PathLike[str], metric: str = "real_accuracy") -> None:
    """Draws each policy's probability of improvement over the reference, averaged over pairs, with its 95 % interval.

    Args:
        results: The evaluation, with a reference.
        path: Where the PNG goes.
        metric: A name of ``METRICS``.

    Raises:
        OSError: If the picture cannot be written; nothing is left behind then.
    """
    improvement = results.metrics[metric].primary_improvement
    figure = new_figure(7.2, 1.4 + 0.33 * max(len(improvement), 1), layout="constrained")
    axis = figure.subplots()
    for i, (policy, estimate) in enumerate(improvement.items()):
        _draw_estimate(axis, estimate, i, results.primary_groups[policy].selection)
        axis.text(1.03, i, f"{estimate.value:.2f}", va="center", fontsize=8)
    axis.axvline(0.5, color="black", lw=1, ls="--")
    axis.set_xlim(-0.015, 1.015)
    axis.set_yticks(range(len(improvement)), list(improvement))
    axis.set_ylim(len(improvement) - 0.5, -0.5)
    axis.set_xlabel(f"P(policy > {results.reference}) by {METRICS[metric].rsplit(' (', 1)[0]}, mean over pairs")
    axis.grid(axis="x", alpha=0.3, lw=0.5)
    save_figure(figure, path)
