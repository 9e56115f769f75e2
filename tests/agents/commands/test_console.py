"""How a long job tells how it goes, where there is no terminal."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
from rich.table import Table

from agents.commands import phases
from agents.commands.console import Reporter, in_episodes, prepare_pairs, steps
from agents.commands.phases import Phase
from l2o_env import pairs
from l2o_env.pairs.announce import announced
from tests.tiny import tiny_pair


def test_a_stage_is_told_in_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(bars=False)
    with reporter.stage("Training", 10, "episodes", lines=2) as update:
        for done in range(11):
            update(done, f"return {done}")
    told = capsys.readouterr()
    assert [line.split(", ")[:2] for line in told.err.splitlines()] == [
        ["Training: 5/10 episodes", "return 5"], ["Training: 10/10 episodes", "return 10"]
    ]  # fmt: skip
    assert all(line.endswith("s left") for line in told.err.splitlines())
    assert told.out == ""


def test_a_long_stage_is_told_every_few_minutes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(phases.time, "perf_counter", lambda: now)
    with Reporter(bars=False).stage("Rows", 100, "steps", lines=1) as update:
        for minute in range(13):
            now = 60.0 * minute
            update(minute, f"row {minute}")
    assert [line.split(", ")[1:3] for line in capsys.readouterr().err.splitlines()] == [
        ["row 5", "5 min"], ["row 10", "10 min"]
    ]  # fmt: skip


def test_results_and_progress_go_apart(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(bars=False)
    reporter.say("[what] is going on")
    reporter.out.print("a result")
    told = capsys.readouterr()
    assert (told.err, told.out) == ("[what] is going on\n", "a result\n")


def test_a_bar_moves_with_the_stage() -> None:
    with Reporter(bars=True).stage("Training", 1, "steps") as update:
        update(3, "going on", 6)


def test_evaluations_of_equal_length_share_a_stage() -> None:
    seen: list[tuple[int, str, int | None]] = []

    def update(done: int, detail: str = "", total: int | None = None) -> None:
        seen.append((done, detail, total))

    steps(update)(2, 5, "alone")
    steps(update, 1, 3)(2, 5, "second of three")
    assert seen == [(2, "alone", 5), (7, "second of three", 15)]


def test_searches_of_equal_length_share_a_stage_that_counts_episodes() -> None:
    seen: list[tuple[int, str]] = []

    def update(done: int, detail: str = "", total: int | None = None) -> None:
        seen.append((done, detail))

    in_episodes(update, 64)(5, 10, "alone")
    in_episodes(update, 64, 2)(10, 10, "third")
    assert seen == [(32, "alone"), (192, "third")]


def test_planned_stages_have_numbers_and_tell_the_time_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(bars=False)
    reporter.plan([Phase("training", 10), Phase("evaluation", 30)])
    for title in ("Training", "Evaluating"):
        with reporter.stage(title, 10, "episodes", lines=1) as update:
            update(10)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(", ")[0] for line in lines] == ["1/2 Training: 10/10 episodes", "2/2 Evaluating: 10/10 episodes"]
    assert all(line.endswith("s left in all") for line in lines)


def test_pairs_are_prepared_with_their_place(tiny: str, capsys: pytest.CaptureFixture[str], caplog: Any) -> None:
    def slow() -> pairs.Pair:
        with announced("Pretraining a proxy, once", 1):
            return tiny_pair()

    if "slow" not in pairs.names():
        pairs.register("slow", slow)
    with caplog.at_level("INFO", "l2o_env"):
        prepare_pairs([tiny, "slow"], Reporter(bars=False))
        with announced("Something else", 1):
            pass
    assert capsys.readouterr().err.startswith("Preparing 2 pairs.")
    assert caplog.messages == ["Pretraining a proxy, once (pair 2 of 2).", "Something else."]


def test_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(bars=False)
    table = Table(title="a[/b]")
    table.add_column("sim[v2]")
    table.add_row("[bold]sim[v1]")
    table.add_row("a:car:b")  # no picture of a car
    reporter.out.print(table)
    with reporter.stage("Evaluating on x[/y]", 1, "steps") as update:
        update(1, "[red] :cat:")
    printed = capsys.readouterr()
    assert all(text in printed.out for text in ("a[/b]", "sim[v2]", "[bold]sim[v1]", "a:car:b"))
    assert "Evaluating on x[/y]: 1" in printed.err and "[red] :cat:" in printed.err


def test_a_line_of_progress_that_cannot_be_written_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    Reporter(bars=False).say("Preparing 2 pairs.")
