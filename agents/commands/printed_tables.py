"""The tables that the commands end with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from l2o_env.pairs import label, make

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


_COLUMNS = {
    "v_end": "V at the end",
    "v_return": "V-return",
    "real_accuracy": "real accuracy",
    "proxy_accuracy": "proxy accuracy kept",
}


_METRICS = {"mean_class_accuracy": "the mean over the classes", "miou": "the mean intersection over union"}


def metric_note(pairs: Iterable[str]) -> str:
    """What "real accuracy" means on pairs where it is not the share of the images that is right; else empty."""
    metrics = {name: make(name).metric for name in dict.fromkeys(pairs)}
    known = [f"{_METRICS[metric]} on {label(name)}" for name, metric in metrics.items() if metric in _METRICS]
    return f"Real accuracy is {', '.join(known)}." if known else ""


def results_table(summary: pd.DataFrame, caption: str | None = None) -> Table:
    """One section per pair, one row per policy.

    Args:
        summary: What :func:`l2o_env.evaluation.evaluate.summarise` returned.
        caption: Printed below, with what the accuracies are if they are no shares of images.
    """
    from rich.table import Table

    caption = "\n".join(text for text in (caption, metric_note(map(str, summary["pair"]))) if text) or None
    n_seeds = int(summary["n_seeds"].max()) if len(summary) else 0
    table = Table(
        title=f"Mean ± 95 % confidence interval over {n_seeds} seeds; V in nats, accuracies as shares", caption=caption
    )
    for heading in ("pair", "policy"):
        table.add_column(heading, no_wrap=True)
    for heading in (*_COLUMNS.values(), "diverged"):
        table.add_column(heading, justify="right")
    for pair, rows in summary.groupby("pair", sort=False):
        table.add_section()
        for i, (_, row) in enumerate(rows.iterrows()):
            cells = [mean_and(row[key], row[f"{key}_ci"]) for key in _COLUMNS]
            table.add_row(
                label(str(pair)) if i == 0 else "", row["policy"], *cells, f"{row['diverged']}/{row['n_seeds']}"
            )
    return table


def mean_and(mean: float, spread: float) -> str:
    """A mean with its interval or spread; a dash stands for what was not measured."""
    if np.isnan(mean):
        return "-"
    return f"{mean:z.3f}" if np.isnan(spread) else f"{mean:z.3f} ± {spread:.3f}"


def evaluation_table(lines: list[list[str]], pairs: Iterable[str]) -> Table:
    """The table of :func:`l2o_env.evaluation.report.overall`, with what fits on a terminal.

    Args:
        lines: Heading and lines.
        pairs: Names of the pairs.
    """
    from rich.table import Table

    title = "Interquartile mean over pairs and runs, with 95 % stratified bootstrap intervals"
    printed = Table(title=title, caption=metric_note(pairs) or None)
    shown = [k for k, heading in enumerate(lines[0]) if heading not in ("trained on", "updates", "s per episode")]
    for k in shown:
        printed.add_column(lines[0][k], overflow="fold")
    for line in lines[1:]:
        printed.add_row(*(line[k] for k in shown))
    return printed
