"""What an evaluation says, in words and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from l2o_env.evaluation import aggregate
from l2o_env.evaluation import plots as transfer_plots
from l2o_env.evaluation.evaluate import CLASS_COLUMN
from l2o_env.evaluation.plots import METRICS, scored
from l2o_env.evaluation.summary import primary
from l2o_env.pairs import label
from l2o_env.results.event_log import read_scalars

PREFERRED_REFERENCE = "uniform"


def reference_of(results: pd.DataFrame, name: str | None = None) -> str | None:
    """What the others are compared with: what is named, else ``uniform``, else the first opponent, else nobody."""
    opponents = list(dict.fromkeys(results[results["selection"].isin(("fixed", "tuned"))]["policy"]))
    if name is not None or not opponents:
        return name
    return PREFERRED_REFERENCE if PREFERRED_REFERENCE in opponents else str(opponents[0])


def to_markdown(
    results: pd.DataFrame, reference: str | None = None, classes: Mapping[str, Sequence[str]] | None = None
) -> str:
    """Tables: over all pairs for each selection and mode; each pair; the accuracy on each class.

    Args:
        results: The tidy table of an evaluation.
        reference: What the probability of improvement compares with; see :func:`reference_of`.
        classes: Names of the classes of each pair; pairs without are left out of the last tables.
    """
    of_classes = [table(lines) for lines in each_class(results, classes or {})]
    parts = [
        "# Evaluation",
        f"{results['policy'].nunique()} policies on {results['pair'].nunique()} pairs, "
        f"{results['seed'].nunique()} seeds. Intervals are 95 % stratified bootstrap intervals. The selection "
        "`target-oracle` picks the checkpoint by real accuracy on the very pair and seeds: it reads the target, and is "
        "an upper bound, not zero-shot.",
        "## Over all pairs (interquartile mean)",
        table(overall(results, reference_of(results, reference))),
        "## Each pair (mean; deterministic actions, selected on the source where there was a choice)",
        table(each_pair(results)),
        *(["## Real accuracy on each class (mean over the pairs that have these classes)"] if of_classes else []),
        *of_classes,
    ]
    return "\n\n".join(parts) + "\n"


def overall(results: pd.DataFrame, reference: str | None) -> list[list[str]]:
    """One line per policy, selection and mode, over all pairs; the first line is the heading.

    Args:
        results: The tidy table of an evaluation.
        reference: What the probability of improvement compares with; None leaves it out.
    """
    heading = ["policy", "trained on", "selection", "mode"]
    lines = [[*heading, *METRICS.values(), f"P(better than {reference})", "updates", "s per episode", "diverged"]]
    if reference is None:
        lines[0].remove("P(better than None)")
    best = primary(results)
    for keys, rows in results.groupby(["policy", "selection", "mode"], sort=False):
        policy, selection, mode = (str(key) for key in keys)
        cells = [policy, _shortened(rows["trained_on"].iloc[0]), selection, mode]
        cells += [_cell(aggregate.iqm, rows, results, column) for column in METRICS]
        if reference is not None:
            cells.append("" if policy == reference else _improvement(rows, best[best["policy"] == reference]))
        cells += [f"{rows['updates'].mean():.0f}", f"{rows['wall_time'].mean():.2f}"]
        lines.append([*cells, f"{int(rows['diverged'].sum())}/{len(rows)}"])
    return lines


def _shortened(names: str) -> str:
    n = len(names.split("+"))
    return names if n < 3 else f"{n} pairs"


def _cell(estimate: Any, rows: pd.DataFrame, results: pd.DataFrame, column: str) -> str:
    known = set(scored(results, column)["pair"])
    rows = rows[rows["pair"].isin(known)]
    if not len(rows):
        return "–"
    found = estimate(aggregate.score_matrix(rows, column))
    return f"{found.value:z.3f} [{found.low:z.3f}, {found.high:z.3f}]"


def _improvement(rows: pd.DataFrame, reference: pd.DataFrame) -> str:
    pairs = [name for name in dict.fromkeys(rows["pair"]) if name in set(scored(reference, "real_accuracy")["pair"])]
    if not pairs:
        return "–"
    x, y = (
        aggregate.score_matrix(pd.concat([frame[frame["pair"] == name] for name in pairs]), "real_accuracy")
        for frame in (rows, reference)
    )
    found = aggregate.probability_of_improvement(x, y)
    return f"{found.value:z.2f} [{found.low:z.2f}, {found.high:z.2f}]"


def each_pair(results: pd.DataFrame) -> list[list[str]]:
    """One line per pair and policy (rows of ``summary.primary``); the first line is the heading."""
    lines = [["pair", "policy", "trained on it", *METRICS.values(), "diverged"]]
    groups = dict(list(primary(results).groupby(["pair", "policy"], sort=False)))
    order = list(dict.fromkeys(results["pair"]))
    for pair, policy in sorted(groups, key=lambda key: order.index(key[0])):
        rows = groups[pair, policy]
        trained = "yes" if str(pair) in str(rows["trained_on"].iloc[0]).split("+") else ""
        cells = [_cell(aggregate.mean, rows, results, column) for column in METRICS]
        lines.append([label(str(pair)), str(policy), trained, *cells, f"{int(rows['diverged'].sum())}/{len(rows)}"])
    return lines


def each_class(results: pd.DataFrame, classes: Mapping[str, Sequence[str]]) -> list[list[list[str]]]:
    """Tables of one line per policy and one column per class, one for all pairs with the same classes.

    Args:
        results: The tidy table of an evaluation.
        classes: Names of the classes of each pair.
    """
    tables = []
    best = primary(results)
    for names in dict.fromkeys(tuple(found) for found in classes.values()):
        pairs = [pair for pair, found in classes.items() if tuple(found) == names]
        columns = [CLASS_COLUMN.format(k) for k in range(len(names))]
        lines = [["policy", *names]]
        for policy, rows in best[best["pair"].isin(pairs)].groupby("policy", sort=False):
            means = rows.reindex(columns=columns).mean().to_numpy(float)
            lines.append([str(policy), *("–" if np.isnan(value) else f"{value:.2f}" for value in means)])
        tables.append(lines)
    return tables


def table(lines: list[list[str]]) -> str:
    """A Markdown table whose columns also line up in a terminal; the first line is the heading."""
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    padded = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    rule = "|".join("-" * (width + 2) for width in widths)
    return "\n".join([f"| {padded[0]} |", f"|{rule}|", *(f"| {line} |" for line in padded[1:])])


def write_pictures(
    results: pd.DataFrame, folder: Path, *, reference: str | None = None, events: Mapping[str, Path] | None = None
) -> list[str]:
    """Draws every picture of an evaluation.

    Args:
        results: The tidy table.
        folder: Where the PNGs go.
        reference: What the probability of improvement compares with; see :func:`reference_of`.
        events: Folders of TensorBoard events of the training of each policy.

    Returns:
        Names of the files.

    Raises:
        OSError: If one cannot be written.
    """
    names = []
    for column in METRICS:
        if len(scored(primary(results), column)):
            names.append(f"transfer_{column}.png")
            transfer_plots.plot_transfer_matrix(results, folder / names[-1], column)
    names += ["iqm.png", "profiles.png"]
    transfer_plots.plot_iqm(results, folder / "iqm.png")
    transfer_plots.plot_profiles(results, folder / "profiles.png")
    compared = reference_of(results, reference)
    for column in ("real_accuracy", "v_return"):
        if compared is not None and results["policy"].nunique() > 1 and len(scored(primary(results), column)):
            names.append(f"improvement_{column}.png")
            transfer_plots.plot_improvement(results, folder / names[-1], compared, column)
    curves = {}
    for policy, path in (events or {}).items():
        found = read_scalars(path).get("rollout/ep_rew_mean", [])
        if found:
            curves[policy] = ([step for step, _ in found], [value for _, value in found])
    if curves:
        names.append("learning_curves.png")
        transfer_plots.plot_curves(curves, folder / "learning_curves.png")
    return names
