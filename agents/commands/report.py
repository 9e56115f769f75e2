"""All that a run has to show, on one page: ``l2o report RUN``."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from l2o_env.errors import ConfigError, reading
from l2o_env.evaluation.intervals import SUMMARISED, plus_minus, summarise
from l2o_env.evaluation.report import each_pair, in_order, overall
from l2o_env.evaluation.results_view import RESULT_COLUMNS, ResultsView
from l2o_env.evaluation.summary import TEXT_COLUMNS
from l2o_env.pairs import label
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
from l2o_env.results.tables import read_table
from l2o_env.safe_json import read_json, read_object

from .console import Reporter
from .plot import CAPTIONS, Pictures, plot_run

_MEND = "evaluate again."
EVALUATION_CAPTIONS = {
    "transfer_real_accuracy": "Who transfers where: accuracy on real images of each policy (row, with what it was "
    "trained on) on each pair (column), with half of its 95 % interval. Blue is above the median of the pair, orange "
    "below; frames are pairs that the policy was trained on, all others are held out.",
    "transfer_v_end": "The same by V at the end, which needs no label of a real image.",
    "transfer_proxy_accuracy": "The same by the accuracy of the proxy's head: how much of what it knew is kept.",
    "iqm": "Interquartile mean over pairs and runs, the mean of the middle half of all scores, with stratified "
    "bootstrap intervals, for each selection.",
    "profiles": "Performance profiles: share of runs above each score; a line further right is better.",
    "improvement_real_accuracy": "Probability that a policy is better than the reference on a pair, by real accuracy: "
    "right of 0.5, it is the better one.",
    "improvement_v_end": "The same by V at the end.",
    "learning_curves": "What trainings gained: V at the end of training episodes, minus what sets the pairs apart, so "
    "that 0 is the start of each training; running means.",
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
        sections = [*result_sections(run), *_pictures(run, pictures), *_settings(run)]
        subtitle = f"Everything is part of this page; the numbers behind it are in {run.resolve().name}/."
        page = render_page(f"l2o-env: {run.resolve().name}", subtitle, sections)
    RunFolder(out.parent).write_text(out.name, page)
    return out


_MARKED = "Bold: the highest V at the end"


def result_sections(run: Path) -> Iterator[Section]:
    """Tables of an evaluation, or of the evaluation at the end of a run, with what is needed to read them.

    Raises:
        ConfigError: If the table is damaged.
    """
    for path, sections in ((run / RESULTS_PARQUET, _of_evaluation), (run / RESULTS_TABLE, _of_run)):
        if path.is_file():
            with reading(path, _MEND):
                found = list(sections(path))
            yield from found
            return


def _of_evaluation(path: Path) -> Iterator[Section]:
    table, settings = read_table(path, RESULT_COLUMNS, TEXT_COLUMNS, _MEND), path.with_name(EVALUATION_FILE)
    if table.empty:
        raise ValueError("it has no rows")
    results = ResultsView(table, _setting(settings, "reference"))
    yield Section("Words", _words(settings))
    text = ["Interquartile means over pairs and runs, with 95 % stratified bootstrap intervals. The selection "
            f"target-oracle reads the target: an upper bound, not zero-shot. {_MARKED}, of all others."]  # fmt: skip
    lines, best = overall(results), best_overall(results)
    yield Section("Results over all pairs", [*held_out(results), *text], lines, marked=best)
    text = [f"Means with 95 % bootstrap intervals. {_MARKED} on each pair."]
    yield Section("Results on each pair", text, each_pair(results), marked=best_of_each_pair(results))


def _of_run(path: Path) -> Iterator[Section]:
    settings = path.with_name(CONFIG_FILE)
    summary = summarise(read_table(path, ("policy", "pair", *SUMMARISED, "diverged"), TEXT_COLUMNS, _MEND))
    lines = [["policy", "pair", "V at the end", "V-return", "real accuracy", "proxy accuracy kept"]]
    lines[0].append("diverged")
    for _, row in summary.iterrows():
        cells = [plus_minus(row[key], row[f"{key}_ci"]) for key in SUMMARISED]
        lines.append([row["policy"], row["pair"], *cells, f"{row['diverged']}/{row['n_seeds']}"])
    best = [int(k) + 1 for k in summary.groupby("pair", sort=False)["v_end"].idxmax()]
    trained_on = [str(name) for name in _setting(settings, "trained_on") or ()]
    text = [f"Means with 95 % confidence intervals (Student's t) over seeds. {_MARKED} on each pair."]
    told = [_held_out("The policy", trained_on, list(dict.fromkeys(summary["pair"])))] if trained_on else []
    yield Section("Words", _words(settings))
    yield Section("Results", [*told, *text], lines, marked=best)


def _words(settings: Path) -> list[str]:
    """What the columns of the tables are."""
    environment = _setting(settings, "environment")
    environment = environment if isinstance(environment, dict) else {}
    weight, transfer = environment.get("kl_weight"), environment.get("reward") == "transfer"
    factor = "w · " if weight in (None, "auto") else "" if weight == 1 else f"{weight:g} · "
    by_classes = "1 / (4 ln(classes of the proxy))" if transfer else "ln(classes) / ln(classes of the proxy)"
    meant = f", with w = {by_classes}" if weight == "auto" else ""
    if transfer:
        value = f"V = accuracy − {factor}KL{meant}; higher is better. KL is"
        images = "synthetic images that look like neither those of training nor those of validation"
    else:
        value = (
            f"V = −(CE + {factor}KL){meant}, in nats; higher is better. CE is the cross-entropy of the predictions, KL"
        )
        images = "held-out synthetic images"
    return [
        f"{value} how far the outputs of the network's pretrained head have moved away from those of the frozen proxy, "
        f"both on {images}: V needs no label of a real image. V-return is V at the end minus V at the start.",
        "Real accuracy is the share of the target's real images (or what else the pair's metric is) that is right; no "
        "training, reward or selection reads them. Proxy accuracy kept is the accuracy of the pretrained head on its "
        "own task after the fine-tuning. Names of opponents: l2o opponents. All words: docs/glossary.md.",
    ]


def held_out(results: ResultsView) -> list[str]:
    """What the trained policies of an evaluation were trained on, and which pairs they never saw."""
    table = results.table[results.table["selection"].isin(("last", "source"))]
    return [
        _held_out(", ".join(map(str, rows["policy"].unique())), str(names).split("+"), results.pairs)
        for names, rows in table.groupby("trained_on", sort=False)
        if names
    ]


def _held_out(policy: str, trained_on: Sequence[str], evaluated: Sequence[str]) -> str:
    unseen = [label(name) for name in evaluated if name not in trained_on]
    seen = ", ".join(map(label, trained_on))
    return f"{policy}: trained on {seen}. Held out, never seen in training: {', '.join(unseen) or 'none of these'}."


def best_overall(results: ResultsView) -> list[int]:
    """The one line of :func:`l2o_env.evaluation.report.overall` with the highest V at the end; no target oracle."""
    iqm = results.metrics["v_end"].iqm
    found = {group: iqm[group].value for group in results.groups if group in iqm and group.selection != "target-oracle"}
    return [1 + list(results.groups).index(max(found, key=lambda group: float(found[group])))] if found else []


def best_of_each_pair(results: ResultsView) -> list[int]:
    """The lines of :func:`l2o_env.evaluation.report.each_pair` with the highest V at the end on their pair."""
    means = results.metrics["v_end"].means
    best: dict[str, int] = {}
    values: dict[str, float] = {}
    for k, (policy, pair) in enumerate(in_order(results), start=1):
        if (policy, pair) in means and float(means[policy, pair].value) > values.get(pair, -math.inf):
            best[pair], values[pair] = k, float(means[policy, pair].value)
    return list(best.values())


def _setting(path: Path, name: str) -> Any:
    """A setting of a run or an evaluation; None where it is not known. Damaged files are told with the settings."""
    try:
        settings = read_object(path, "copy it again.")
    except (OSError, ConfigError):
        return None
    arguments = settings.get("arguments")
    return settings.get(name, arguments.get(name) if isinstance(arguments, dict) else None)


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
