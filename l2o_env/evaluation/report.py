"""What an evaluation says, in words and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from l2o_env.evaluation.aggregate import Estimate
from l2o_env.evaluation.evaluate import CLASS_COLUMN
from l2o_env.evaluation.plots import plot_improvement, plot_iqm, plot_profiles, plot_transfer_matrix
from l2o_env.evaluation.results_view import COMPARED, METRICS, ResultsView
from l2o_env.pairs import label
from l2o_env.results.event_log import read_scalars, training_records
from l2o_env.results.training_plots import plot_learning_curves, shows_gains


def to_markdown(results: ResultsView, classes: Mapping[str, Sequence[str]] | None = None) -> str:
    """Tables: over all pairs for each selection and mode; each pair; the accuracy on each class.

    Args:
        results: The evaluation.
        classes: Names of the classes of each pair; pairs without are left out of the last tables.
    """
    table = results.table
    of_classes = [markdown_table(lines) for lines in each_class(results, classes or {})]
    parts = [
        "# Evaluation",
        f"Policies: {table['policy'].nunique()}; pairs: {len(results.pairs)}; seeds: {table['seed'].nunique()}. "
        "Intervals are 95 % stratified bootstrap intervals. The selection `target-oracle` picks the checkpoint by real "
        "accuracy on the very pair and seeds: it reads the target, and is an upper bound, not zero-shot.",
        "## Over all pairs (interquartile mean)",
        markdown_table(overall(results)),
        "## Each pair (mean; deterministic actions, selected on the source where there was a choice)",
        markdown_table(each_pair(results)),
        *(["## Real accuracy on each class (mean over the pairs that have these classes)"] if of_classes else []),
        *of_classes,
    ]
    return "\n\n".join(parts) + "\n"


def overall(results: ResultsView) -> list[list[str]]:
    """One line per policy, selection and mode, over all pairs; the first line is the heading."""
    compared = [f"P(better than {results.reference})"] if results.reference is not None else []
    heading = ["policy", "trained on", "selection", "mode", *METRICS.values(), *compared]
    lines = [[*heading, "updates", "s per episode", "diverged"]]
    improvement = results.metrics["real_accuracy"].improvement if compared else {}
    for group, rows in results.groups.items():
        trained_on = "each pair" if group.selection == "tuned" else _shortened(rows["trained_on"].iloc[0])
        cells = [group.policy, trained_on, group.selection, group.mode]
        cells += [_cell(results.metrics[name].iqm.get(group)) for name in METRICS]
        if compared:
            cells.append("" if group.policy == results.reference else _cell(improvement.get(group), digits=2))
        cells += [f"{rows['updates'].mean():.0f}", f"{rows['wall_time'].mean():.2f}"]
        lines.append([*cells, f"{int(rows['diverged'].sum())}/{len(rows)}"])
    return lines


def _shortened(names: str) -> str:
    n = len(names.split("+"))
    return names if n < 3 else f"{n} pairs"


def _cell(estimate: Estimate | None, digits: int = 3) -> str:
    return "–" if estimate is None else estimate.text(digits)


def each_pair(results: ResultsView) -> list[list[str]]:
    """One line per pair and policy (rows of ``summary.primary``); the first line is the heading."""
    lines = [["pair", "policy", "trained on it", *METRICS.values(), "diverged"]]
    for policy, pair in in_order(results):
        rows = results.cells[policy, pair]
        cells = [_cell(results.metrics[name].means.get((policy, pair))) for name in METRICS]
        trained = "yes" if results.was_trained_on(policy, pair) else ""
        lines.append([label(pair), policy, trained, *cells, f"{int(rows['diverged'].sum())}/{len(rows)}"])
    return lines


def in_order(results: ResultsView) -> list[tuple[str, str]]:
    """Policy and pair of each line of :func:`each_pair`."""
    return sorted(results.cells, key=lambda cell: results.pairs.index(cell[1]))


def each_class(results: ResultsView, classes: Mapping[str, Sequence[str]]) -> list[list[list[str]]]:
    """Tables of one line per policy and one column per class, one for all pairs with the same classes.

    Args:
        results: The evaluation.
        classes: Names of the classes of each pair.
    """
    tables = []
    for names in dict.fromkeys(map(tuple, classes.values())):
        pairs = [pair for pair, of_pair in classes.items() if tuple(of_pair) == names]
        columns = [CLASS_COLUMN.format(k) for k in range(len(names))]
        lines = [["policy", *names]]
        rows_of_pairs = results.primary[results.primary["pair"].isin(pairs)]
        for policy, rows in rows_of_pairs.groupby("policy", sort=False):
            means = rows.reindex(columns=columns).mean().to_numpy(float)
            lines.append([str(policy), *("–" if np.isnan(value) else f"{value:.2f}" for value in means)])
        tables.append(lines)
    return tables


def markdown_table(lines: list[list[str]]) -> str:
    """A Markdown table whose columns also line up in a terminal; the first line is the heading."""
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    padded = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    rule = "|".join("-" * (width + 2) for width in widths)
    return "\n".join([f"| {padded[0]} |", f"|{rule}|", *(f"| {line} |" for line in padded[1:])])


def write_pictures(results: ResultsView, folder: Path, *, events: Mapping[str, Path] | None = None) -> list[str]:
    """Draws every picture of an evaluation that there are numbers for.

    Args:
        results: The evaluation.
        folder: Where the PNGs go.
        events: Folders of TensorBoard events of the training of each policy.

    Returns:
        Names of the files.

    Raises:
        OSError: If one cannot be written.
    """
    drawings: dict[str, Callable[[Path], None]] = {}
    for name in results.drawn:
        drawings[f"transfer_{name}.png"] = partial(plot_transfer_matrix, results, metric=name)
    if results.drawn:
        drawings["iqm.png"] = partial(plot_iqm, results)
        drawings["profiles.png"] = partial(plot_profiles, results)
    for name in COMPARED:
        if results.metrics[name].primary_improvement:
            drawings[f"improvement_{name}.png"] = partial(plot_improvement, results, metric=name)
    trainings = {policy: training_records(read_scalars(folder)) for policy, folder in (events or {}).items()}
    trainings = {policy: records for policy, records in trainings.items() if shows_gains(records)}
    if trainings:
        drawings["learning_curves.png"] = partial(plot_learning_curves, trainings)
    for file, draw in drawings.items():
        draw(folder / file)
    return list(drawings)
