"""The tables that the commands end with."""

from __future__ import annotations

import io
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from agents.commands.paper_rows import CLAIMS, Finding
from agents.commands.printed_tables import (
    WIDE,
    claim_lines,
    evaluation_table,
    metric_note,
    paper_cells,
    paper_table,
    results_table,
)
from l2o_env import pairs
from l2o_env.evaluation.intervals import summarise
from l2o_env.evaluation.results_view import METRICS
from tests.agents.commands.jobs import rows_frame
from tests.tiny import tiny_pair


def test_published_figures_stand_beside_ours_only_where_they_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = summarise(rows_frame(_1=[0.5, 0.7], csg=[0.6, 0.6]))
    headings, rows = paper_cells("tiny", summary)
    assert len(headings) == 6 and rows[0][:4] == ["1", "large rate for all layers", "60.0 ± 127.1", "30.0 ± 63.5"]
    headings, rows = paper_cells("visda17:root=x,label=mine", summary)
    assert headings[6:] == ["published: VisDA-17", "ImageNet"]
    assert [row[6:] for row in rows] == [["28.2", "0.8"], ["64.05", "-"]]


def test_there_is_no_negative_zero() -> None:
    finding = Finding(CLAIMS[0], -0.0001, 0.1, "undecided")
    assert "undecided (+0.0 ± 10.0 points of real accuracy)" in claim_lines([finding])[0]


def test_what_the_accuracy_is_is_said_where_it_is_no_share_of_images(tiny: str) -> None:
    for name, metric in (("tiny-miou", "miou"), ("tiny-mean", "mean_class_accuracy")):
        if name not in pairs.names():
            pairs.register(name, lambda metric=metric: replace(tiny_pair(), metric=metric))
    assert metric_note([tiny]) == ""
    expected = "Real accuracy is the mean intersection over union on tiny-miou, the mean over the classes on tiny-mean."
    assert metric_note(["tiny-miou", tiny, "tiny-mean", "tiny-miou"]) == expected
    summary = summarise(rows_frame(_1=[0.5, 0.7]).assign(pair="tiny-mean"))
    assert "Real accuracy is the mean over" in str(results_table(summary, "Below.").caption)
    assert results_table(summary.assign(pair=tiny), None).caption == "No run diverged."
    assert "tiny-miou" in str(paper_table("tiny-miou", summary).caption)
    assert "tiny-miou" in str(evaluation_table([["policy"], ["a"]], ["tiny-miou"]).caption)


def test_tables_fit_80_columns_and_have_one_line_a_row(tinies: tuple[str, str]) -> None:
    frame = rows_frame(_1=[0.61, 0.6], csg=[0.6, 0.6])
    frame["policy"] = frame["policy"].where(frame["policy"] == "CSG", "tuned-adamw-warmup-cosine")
    both = summarise(pd.concat([frame.assign(pair=pair) for pair in tinies]))
    for width, shows_return in ((80, False), (WIDE, True)):
        console = Console(width=width, file=io.StringIO())
        console.print(results_table(both.assign(diverged=1), "Below.", width))
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert "…" not in "".join(lines)
        assert max(len(line.rstrip()) for line in lines) <= width
        assert ("V-return" in lines[2]) == shows_return
        # Title, heading and rule; each pair a line, its policies and a gap; what is below.
        assert len(lines) == 2 + 2 + 2 * 3 + 1 + 2


def test_what_an_evaluation_has_no_room_for_is_named() -> None:
    heading = ["policy", "selection", "mode", *METRICS.values(), "updates", "diverged"]
    lines = [heading, ["learned", "target-oracle", "deterministic", *["-0.123 [-0.456, -0.111]"] * 4, "60", "0/3"]]
    console = Console(width=80, file=io.StringIO())
    console.print(evaluation_table(lines, [], 80))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert [line.strip() for line in text.splitlines()[5:7]] == ["deterministic,", "selection: target-oracle"]
    assert "In summary.md, not here: V-return, proxy kept, diverged." in text
    assert "…" not in text
    assert "summary.md" not in str(evaluation_table(lines, [], 200).caption)
