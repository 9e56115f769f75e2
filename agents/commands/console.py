"""Tells how a long job goes: a progress bar on a terminal, a few lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console

from l2o_env.evaluation.rollout import Progress

TABLE_WIDTH = 140
"""Columns that a table may take where there is no terminal."""


def counted(n: int, noun: str) -> str:
    """A number of things: ``"1 pair"``, ``"2,000 pairs"``."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


class Update(Protocol):
    """Moves a stage forward."""

    def __call__(self, done: int, detail: str = "", total: int | None = None) -> None:
        """Says how far the stage is.

        Args:
            done: Units done so far.
            detail: What is going on, or what came out last, in a few words.
            total: Units to do, if that is another number than before.
        """
        ...


class Reporter:
    """Writes progress to standard error and results to standard output.

    Args:
        bars: Whether to draw bars; None: if standard error is a terminal.
    """

    def __init__(self, bars: bool | None = None) -> None:
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)
        self.out = Console(highlight=False)
        if not self.out.is_terminal:
            self.out = Console(highlight=False, width=TABLE_WIDTH)
        self.bars = self.err.is_terminal if bars is None else bars

    def say(self, text: str) -> None:
        """Writes a line to standard error."""
        self.err.print(text, markup=False)

    @contextmanager
    def stage(self, title: str, total: int, unit: str, lines: int = 2) -> Iterator[Update]:
        """Shows a stage of the job.

        Args:
            title: What is done.
            total: How many units of it.
            unit: What they are called, such as ``"episodes"``.
            lines: Lines to print where there is no terminal.
        """
        if not self.bars:
            yield _Lines(self, title, total, unit, lines)
            return
        from rich import progress as rich_progress

        columns = (
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(bar_width=24),
            rich_progress.TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit),
            rich_progress.TimeElapsedColumn(),
            rich_progress.TextColumn("left"),
            rich_progress.TimeRemainingColumn(),
            rich_progress.TextColumn("{task.fields[detail]}"),
        )
        with rich_progress.Progress(*columns, console=self.err) as bar:
            task = bar.add_task(title, total=total, detail="")

            def update(done: int, detail: str = "", total: int | None = None) -> None:
                bar.update(task, completed=done, total=total, detail=detail)

            yield update


def steps(update: Update, k: int = 0, n: int = 1) -> Progress:
    """Feeds a stage from the `progress` of an evaluation or a search.

    Args:
        update: The stage.
        k: Which of several evaluations of equal length this is, from 0.
        n: How many there are.
    """
    return lambda done, total, text: update(k * total + done, text, n * total)


class _Lines:
    """Prints a line whenever another share of the stage is done."""

    def __init__(self, reporter: Reporter, title: str, total: int, unit: str, lines: int) -> None:
        self._reporter, self._title, self._total, self._unit, self._lines = reporter, title, total, unit, lines
        self._started = time.perf_counter()
        self._printed = 0

    def __call__(self, done: int, detail: str = "", total: int | None = None) -> None:
        self._total = self._total if total is None else total
        due = self._lines * done // max(self._total, 1)
        if due <= self._printed:
            return
        self._printed = due
        elapsed = time.perf_counter() - self._started
        left = elapsed * (self._total - done) / max(done, 1)
        times = f"{elapsed:.0f} s, {left:.0f} s left"
        texts = [f"{self._title}: {done}/{self._total} {self._unit}", detail, times]
        self._reporter.say(", ".join(text for text in texts if text))
