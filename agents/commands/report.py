"""All that a run has to show, on one page: ``l2o report RUN``."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from agents.commands.console import Reporter
from agents.commands.plot import CAPTIONS, Pictures, plot_run
from l2o_env.evaluation.intervals import SUMMARISED, plus_minus, summarise
from l2o_env.evaluation.report import each_pair, overall
from l2o_env.evaluation.results_view import ResultsView
from l2o_env.results.page import Figure, Section, render_page
from l2o_env.results.run_folder import (
    CONFIG_FILE,
    EVALUATION_FILE,
    PAGE,
    PLOTS,
    RESULTS_PARQUET,
    RESULTS_TABLE,
    RunFolder,
)
from l2o_env.safe_json import read_json

EVALUATION_CAPTIONS = {
    "transfer_real_accuracy": "Transfer matrix: accuracy on real images of each policy (row) on each pair (column).",
    "transfer_v_return": "Transfer matrix of the V-return.",
    "transfer_proxy_accuracy": "Transfer matrix of the accuracy of the proxy's head that is kept.",
    "iqm": "Interquartile mean over pairs and runs, with stratified bootstrap intervals, for each selection.",
    "profiles": "Performance profiles: share of runs above each score.",
    "improvement_real_accuracy": "Probability that a policy is better than the reference, by real accuracy.",
    "improvement_v_return": "The same by V-return.",
    "learning_curves": "Return over training, running mean.",
}
"""What each picture of an evaluation shows."""


@dataclass(frozen=True)
class ReportArgs:
    """Writes a run's or an evaluation's settings, tables and pictures as one HTML page that needs no network."""

    run: Positional[Annotated[Path, arg(metavar="RUN")]]
    """Folder of a run or of an evaluation, also of one that is going on or was killed."""
    policy: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the first one recorded)")] = None
    """Policy whose actions are shown in detail."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: RUN/report.html)")] = None
    """File of the page."""


def report_command(args: ReportArgs, reporter: Reporter | None = None) -> int:
    """Runs ``l2o report``; returns the exit status.

    Raises:
        ConfigError: If there is no recording, or the policy was not recorded.
        WriteError: If the page or a picture cannot be written.
    """
    reporter = reporter or Reporter()
    path = report_run(args.run, args.out, policy=args.policy)
    reporter.out.print(str(path), markup=False, soft_wrap=True)
    return 0


def report_run(run: Path, out: Path | None = None, *, policy: str | None = None) -> Path:
    """Writes the page of a run or an evaluation; its pictures are drawn anew.

    Args:
        run: The folder of the run or evaluation.
        out: The page; None: ``report.html`` in the folder.
        policy: Whose actions are shown in detail; None takes the first one recorded.

    Returns:
        The page.

    Raises:
        ConfigError: If there is no recording, or the policy was not recorded.
        WriteError: If the page or a picture cannot be written.
    """
    run = run.expanduser()
    out = run / PAGE if out is None else out.expanduser()
    with tempfile.TemporaryDirectory() as elsewhere:  # a page that goes elsewhere leaves the run as it is
        pictures = plot_run(run, run / PLOTS if out == run / PAGE else Path(elsewhere), policy=policy)
        sections = [*_results(run), *_pictures(run, pictures), *_settings(run)]
        subtitle = f"Everything is part of this page; the numbers behind it are in {run.resolve().name}/."
        page = render_page(f"l2o-env: {run.resolve().name}", subtitle, sections)
    RunFolder(out.parent).write_text(out.name, page)
    return out


def _results(run: Path) -> Iterator[Section]:
    """Tables of an evaluation, or of the evaluation at the end of a run."""
    import pandas as pd

    if (run / RESULTS_PARQUET).is_file():
        results = ResultsView(pd.read_parquet(run / RESULTS_PARQUET))
        text = ["Interquartile means over pairs and runs, with 95 % stratified bootstrap intervals. The selection "
                "target-oracle reads the target: an upper bound, not zero-shot."]  # fmt: skip
        yield Section("Results over all pairs", text, overall(results))
        yield Section("Results on each pair", ["Means with 95 % bootstrap intervals."], each_pair(results))
    elif (run / RESULTS_TABLE).is_file():
        summary = summarise(pd.read_csv(run / RESULTS_TABLE))
        lines = [["policy", "pair", "V (nats)", "V-return (nats)", "real accuracy", "proxy accuracy kept", "diverged"]]
        for _, row in summary.iterrows():
            cells = [plus_minus(row[key], row[f"{key}_ci"]) for key in SUMMARISED]
            lines.append([row["policy"], row["pair"], *cells, f"{row['diverged']}/{row['n_seeds']}"])
        yield Section("Results", ["Means with 95 % confidence intervals (Student's t) over seeds."], lines)


def _pictures(run: Path, pictures: Pictures) -> Iterator[Section]:
    named = {name: run / f"{name}.png" for name in EVALUATION_CAPTIONS}
    figures = [Figure(path, EVALUATION_CAPTIONS[name]) for name, path in named.items() if path.is_file()]
    if figures:
        yield Section("Evaluation and transfer", figures=figures)
    for title, names in (("Actions", ("actions", "heatmap", "guidance", "policies")),
                         ("Training", ("learning_curve", "entropy"))):  # fmt: skip
        text = [f"There is no picture “{name}”: {pictures.missing[name]}" for name in names if name in pictures.missing]
        shown = [Figure(pictures.paths[name], CAPTIONS[name]) for name in names if name in pictures.paths]
        if shown:
            yield Section(title, text, figures=shown)


def _settings(run: Path) -> Iterator[Section]:
    for name in (EVALUATION_FILE, CONFIG_FILE):
        path = run / name
        if path.is_file():
            text = json.dumps(read_json(path, "copy it again."), indent=2, ensure_ascii=False)
            yield Section(f"Settings ({name})", source=text)
