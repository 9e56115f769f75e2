"""How a long job tells how it goes, where there is no terminal."""

from __future__ import annotations

import pytest

from agents.commands.console import Reporter, counted, steps


def test_things_are_counted() -> None:
    assert [counted(n, "pair") for n in (0, 1, 2000)] == ["0 pairs", "1 pair", "2,000 pairs"]


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
