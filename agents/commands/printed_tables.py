"""The tables that the commands end with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from l2o_env.evaluation.ablation import GAINED
from l2o_env.evaluation.intervals import plus_minus
from l2o_env.evaluation.results_view import METRICS
from l2o_env.pairs import label, make
from l2o_env.pairs.spec import parse
from l2o_env.results.decimals import counted

from .paper_rows import CLAIMS, ROWS, Finding

if TYPE_CHECKING:
    import pandas as pd

WIDE = 100
"""Columns from which on tables are whole."""


class _Column(NamedTuple):
    """What a column shows."""

    heading: str
    factor: int
    digits: int

    def cell(self, mean: float, half_width: float) -> str:
        return plus_minus(self.factor * mean, self.factor * half_width, self.digits)


_COLUMNS = {
    "v_end": _Column("V", 1, 3),
    "v_return": _Column("V-return", 1, 3),
    "real_accuracy": _Column("real accuracy", 100, 1),
    "proxy_accuracy": _Column("proxy kept", 100, 1),
}
"""By column of a summary: ``proxy kept`` is the accuracy on the proxy's own images that the network has kept."""
_NOT_PRINTED = ("policy", "selection", "mode", "trained on", "updates", "s per episode")
"""Headings of an evaluation that are no column of the printed table."""
_SHORT = {METRICS[key]: column.heading for key, column in _COLUMNS.items()}
_FIRST = [_COLUMNS[key].heading for key in ("real_accuracy", "v_end", "v_return")]
"""Columns that stay longest where there is little room."""
PUBLISHED_ON = "visda17"
"""The pair that the paper's figures are of."""
_METRICS = {"mean_class_accuracy": "the mean over the classes", "miou": "the mean intersection over union"}


def metric_note(pairs: Iterable[str]) -> str:
    """What "real accuracy" means on pairs where it is not the share of the images that is right; else empty."""
    metrics = {name: make(name).metric for name in dict.fromkeys(pairs)}
    known = [f"{_METRICS[metric]} on {label(name)}" for name, metric in metrics.items() if metric in _METRICS]
    return f"Real accuracy is {', '.join(known)}." if known else ""


def results_table(summary: pd.DataFrame, caption: str | None = None, width: int = WIDE) -> Table:
    """One section per pair, one row per policy.

    Args:
        summary: What :func:`l2o_env.summarise` returned.
        caption: Printed below, with what the accuracies are if they are no shares of images.
        width: Columns of the terminal. Below ``WIDE``, V-return is left out: on a pair it is V, less the same start.
    """
    shown = [key for key in _COLUMNS if key != "v_return" or width >= WIDE]
    n_diverged = int(summary["diverged"].sum())
    diverged = f"{counted(n_diverged, 'run')} diverged." if n_diverged else "No run diverged."
    caption = "\n".join(text for text in (diverged, caption, metric_note(map(str, summary["pair"]))) if text)
    n_seeds = int(summary["n_seeds"].max()) if len(summary) else 0
    table = plain_table(f"Mean ± 95 % confidence interval over {counted(n_seeds, 'seed')};\naccuracies in %", caption)
    table.add_column("pair and policy", no_wrap=True)
    for key in shown:
        table.add_column(_COLUMNS[key].heading, justify="right", no_wrap=True)
    if n_diverged:
        table.add_column("diverged", justify="right", no_wrap=True)
    for pair, rows in summary.groupby("pair", sort=False):
        table.add_row(Text(label(str(pair)), style="bold"))
        for _, row in rows.iterrows():
            cells = [_COLUMNS[key].cell(row[key], row[f"{key}_ci"]) for key in shown]
            cells += [f"{row['diverged']}/{row['n_seeds']}"] if n_diverged else []
            table.add_row(f"  {row['policy']}", *cells)
        table.add_section()
    return table


def plain_table(title: str, caption: str | None) -> Table:
    """An empty table without borders, so that more fits a terminal: columns are two apart, a rule is below the heading.

    Args:
        title: Printed above.
        caption: Printed below.
    """
    table = Table(title=title, caption=caption or None, box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.padding = 0, 1, 0, 0
    table.title_justify = table.caption_justify = "left"
    return table


def gains_table(gains: pd.DataFrame, n_pairs: int, n_seeds: int, *, tasks: bool = False) -> Table:
    """What policies have over themselves without something.

    Args:
        gains: What :func:`l2o_env.evaluation.ablation.gains` returned.
        n_pairs: Pairs that means are over.
        n_seeds: Seeds likewise.
        tasks: Whether the pairs are tasks that were drawn, over which the intervals are.
    """
    seeds, pairs = counted(n_seeds, "seed"), counted(n_pairs, "task" if tasks else "pair")
    over = f"{pairs}, {seeds} each" if tasks else f"{seeds}, {pairs}"
    title = f"What is gained over an ablation: mean ± 95 % confidence interval over {over}"
    table = Table(title=title)
    table.add_column("ablation", overflow="fold")
    for heading in ("gain of V", "gain of real accuracy"):
        table.add_column(heading, justify="right")
    for _, row in gains.iterrows():
        cells = [plus_minus(row[f"{key}_gain"], row[f"{key}_gain_ci"], 4, sign="+") for key in GAINED]
        table.add_row(row["ablation"], *cells)
    return table


def evaluation_table(lines: list[list[str]], pairs: Iterable[str], width: int = WIDE) -> Table:
    """The table of :func:`l2o_env.evaluation.report.overall`, with what fits on a terminal.

    Args:
        lines: Heading and lines.
        pairs: Names of the pairs.
        width: Columns of the terminal. What there is no room for is left out, and named below the table.
    """
    headings = [_SHORT.get(heading, heading) for heading in lines[0]]
    rows = [dict(zip(headings, line, strict=True)) for line in lines[1:]]
    sections: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        section = f"{row['mode']},\nselection: {row['selection']}" if "mode" in row else ""  # on one line V had no room
        sections.setdefault(section, []).append(row)
    columns = [heading for heading in headings if heading not in _NOT_PRINTED]
    names = [line for section in sections for line in section.splitlines()]
    used = max(len(text) for text in (*names, *(f"  {row['policy']}" for row in rows)))
    shown = list[str]()
    for heading in sorted(columns, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST)):
        needed = 2 + max(len(text) for text in (heading, *(row[heading] for row in rows)))
        if used + needed <= width:
            shown, used = [*shown, heading], used + needed
    left_out = [heading for heading in columns if heading not in shown]
    more = f"In summary.md, not here: {', '.join(left_out)}." if left_out else ""
    title = "Interquartile mean over pairs and runs, 95 % stratified bootstrap intervals;\naccuracies as shares"
    printed = plain_table(title, "\n".join(text for text in (more, metric_note(pairs)) if text))
    printed.add_column("policy", no_wrap=True)
    shown = [heading for heading in columns if heading in shown]
    for heading in shown:
        printed.add_column(heading, justify="right", no_wrap=True)
    for section, members in sections.items():
        if section:
            printed.add_row(Text(section, style="bold"))
        for row in members:
            printed.add_row(f"  {row['policy']}", *(row[heading] for heading in shown))
        printed.add_section()
    return printed


def paper_table(pair: str, summary: pd.DataFrame) -> Table:
    """The paper's table: ours, and the published figures beside them where the pair is theirs.

    Args:
        pair: The pair's name.
        summary: What :func:`l2o_env.summarise` returned.
    """
    n_seeds = int(summary["n_seeds"].max())
    title = f"{label(pair)}: mean ± 95 % confidence interval over {n_seeds} seeds; accuracies in %"
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
    known = {row.label: row for row in ROWS}
    for name in [name for name in (*known, *sorted(by_label.keys() - known)) if name in by_label]:
        ours, row = by_label[name], known.get(name)
        line = [row.key if row is not None and row.key.isdigit() else "", name if row is None else row.model]
        line += [plus_minus(100 * ours[key], 100 * ours[f"{key}_ci"], 1) for key in ("real_accuracy", "proxy_accuracy")]
        line += [plus_minus(ours["v_end"], ours["v_end_ci"]), f"{ours['diverged']}/{ours['n_seeds']}"]
        figures = (None, None) if row is None else row.published
        line += ["-" if x is None else f"{x:g}" for x in figures] if published else []
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
