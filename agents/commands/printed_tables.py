"""The tables that the commands end with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from agents.commands.paper_rows import CLAIMS, ROWS, Finding
from l2o_env.evaluation.ablation import GAINED
from l2o_env.evaluation.intervals import plus_minus
from l2o_env.pairs import label, make
from l2o_env.pairs.spec import parse

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


_COLUMNS = {
    "v_end": "V at the end",
    "v_return": "V-return",
    "real_accuracy": "real accuracy",
    "proxy_accuracy": "proxy accuracy kept",
}
PUBLISHED_ON = "visda17"
"""The pair that the paper's figures are of."""
_METRICS = {"mean_class_accuracy": "the mean over the classes", "miou": "the mean intersection over union"}


def metric_note(pairs: Iterable[str]) -> str:
    """What "real accuracy" means on pairs where it is not the share of the images that is right; else empty."""
    metrics = {name: make(name).metric for name in dict.fromkeys(pairs)}
    known = [f"{_METRICS[metric]} on {label(name)}" for name, metric in metrics.items() if metric in _METRICS]
    return f"Real accuracy is {', '.join(known)}." if known else ""


def results_table(summary: pd.DataFrame, caption: str | None = None) -> Table:
    """One section per pair, one row per policy.

    Args:
        summary: What :func:`l2o_env.summarise` returned.
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
            cells = [plus_minus(row[key], row[f"{key}_ci"]) for key in _COLUMNS]
            table.add_row(
                label(str(pair)) if i == 0 else "", row["policy"], *cells, f"{row['diverged']}/{row['n_seeds']}"
            )
    return table


def gains_table(gains: pd.DataFrame, n_pairs: int, n_seeds: int) -> Table:
    """What policies have over themselves without something.

    Args:
        gains: What :func:`l2o_env.evaluation.ablation.gains` returned.
        n_pairs: Pairs that means are over.
        n_seeds: Seeds likewise.
    """
    from rich.table import Table

    title = f"What is gained over an ablation: mean ± 95 % confidence interval over {n_seeds} seeds, {n_pairs} pairs"
    table = Table(title=title)
    table.add_column("ablation", overflow="fold")
    for heading in ("gain of V", "gain of real accuracy"):
        table.add_column(heading, justify="right")
    for _, row in gains.iterrows():
        cells = [plus_minus(row[f"{key}_gain"], row[f"{key}_gain_ci"], 4, sign="+") for key in GAINED]
        table.add_row(row["ablation"], *cells)
    return table


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


def paper_table(pair: str, summary: pd.DataFrame) -> Table:
    """The paper's table: ours, and the published figures beside them where the pair is theirs.

    Args:
        pair: The pair's name.
        summary: What :func:`l2o_env.summarise` returned.
    """
    from rich.table import Table

    n_seeds = int(summary["n_seeds"].max())
    title = f"{label(pair)}: mean ± 95 % confidence interval over {n_seeds} seeds; V in nats, accuracies in %"
    printed = Table(title=title, caption=metric_note([pair]) or None)
    headings, rows = paper_cells(pair, summary)
    for k, heading in enumerate(headings):
        printed.add_column(heading, justify="left" if k < 2 else "right", no_wrap=k == 1)
    for row in rows:
        printed.add_row(*row)
    return printed


def paper_cells(pair: str, summary: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of that table."""
    published = parse(pair)[0] == PUBLISHED_ON
    headings = ["#", "model", "real accuracy", "proxy accuracy kept", "V at the end", "diverged"]
    headings += ["published: VisDA-17", "ImageNet"] if published else []
    by_label: dict[str, dict[str, Any]] = {str(line["policy"]): line for line in summary.to_dict("records")}  # type: ignore[misc]
    rows = []
    for row in ROWS:
        if row.label not in by_label:
            continue
        ours = by_label[row.label]
        line = [row.key if row.key.isdigit() else "", row.model]
        line += [plus_minus(100 * ours[key], 100 * ours[f"{key}_ci"], 1) for key in ("real_accuracy", "proxy_accuracy")]
        line += [plus_minus(ours["v_end"], ours["v_end_ci"]), f"{ours['diverged']}/{ours['n_seeds']}"]
        line += ["-" if x is None else f"{x:g}" for x in row.published] if published else []
        rows.append(line)
    return headings, rows


def claim_lines(findings: list[Finding]) -> list[str]:
    """What the paper claims, line by line, and how it came out here."""
    lines = []
    for claim, difference, half_width, verdict in findings:
        what = "real accuracy" if claim.column == "real_accuracy" else "proxy accuracy"
        points = plus_minus(100 * difference, 100 * half_width, 1, sign="+")
        lines.append(f"{claim.text}: {verdict} ({points} points of {what})")
    missing = len(CLAIMS) - len(findings)
    return [*lines, f"{missing} claims could not be checked: rows or accuracies are missing."] if missing else lines
