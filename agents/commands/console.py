"""Tells how a long job goes: a progress bar on a terminal, a few lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from rich.console import Console

from l2o_env.evaluation.rollout import Progress
from l2o_env.pairs import make
from l2o_env.pairs.announce import part
from l2o_env.results.decimals import counted

from .phases import Phase, Phases, Stage

TABLE_WIDTH = 140
"""Columns that a table may take where there is no terminal."""

SILENCE = 300.0
"""Seconds after which a stage that goes on says so where there is no terminal."""


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
        self.err = Console(markup=False, emoji=False, stderr=True, highlight=False, soft_wrap=True)
        self.out = Console(markup=False, emoji=False, highlight=False)
        if not self.out.is_terminal:
            self.out = Console(markup=False, emoji=False, highlight=False, width=TABLE_WIDTH)
        self.bars = self.err.is_terminal if bars is None else bars
        self._phases: Phases | None = None

    def say(self, text: str) -> None:
        """Writes a line to standard error, if that can be written: no run ends for a line of its progress."""
        with suppress(OSError):
            self.err.print(text, markup=False)

    def plan(self, phases: Sequence[Phase]) -> None:
        """Says what the stages to come are, so that each tells the time that all of them take.

        Args:
            phases: One for each stage, in their order.
        """
        self._phases = Phases(phases)

    @contextmanager
    def stage(self, title: str, total: int, unit: str, lines: int = 2, done: int = 0) -> Iterator[Update]:
        """Shows a stage of the job.

        Args:
            title: What is done.
            total: How many units of it.
            unit: What they are called, such as ``"episodes"``.
            lines: Lines to print where there is no terminal; more if it takes long.
            done: Units that were done before, by another process.
        """
        stage = Stage(title, total, unit, done, self._phases)
        try:
            if self.bars:
                from .bar import bar

                with bar(self.err, stage):
                    yield stage.move
            else:
                yield _Lines(self, stage, lines)
        finally:
            stage.end()

    @contextmanager
    def steps(self, title: str) -> Iterator[Progress]:
        """Shows a stage that an evaluation or a search is; yields its `progress`.

        Args:
            title: What is done.
        """
        with self.stage(title, 1, "steps", 20) as update:
            yield steps(update)


def prepare_pairs(names: Sequence[str], reporter: Reporter) -> None:
    """Makes pairs, which may pretrain their proxies.

    Args:
        names: Their names.
        reporter: Where it is told.
    """
    reporter.say(f"Preparing {counted(len(names), 'pair')}.")
    for k, name in enumerate(names, 1):
        with part(f"pair {k} of {len(names)}"):
            make(name)


def steps(update: Update, k: int = 0, n: int = 1) -> Progress:
    """Feeds a stage from the `progress` of an evaluation or a search.

    Args:
        update: The stage.
        k: Which of several evaluations of equal length this is, from 0.
        n: How many there are.
    """
    return lambda done, total, text: update(k * total + done, text, n * total)


def in_episodes(update: Update, n: int, k: int = 0) -> Progress:
    """Feeds a stage that counts episodes from the `progress` of an evaluation or a search, which counts steps.

    Args:
        update: The stage.
        n: Episodes of the evaluation or search.
        k: Which of several of as many episodes this is, from 0.
    """
    return lambda done, total, text: update(k * n + n * done // max(total, 1), text)


class _Lines:
    """Prints a line whenever another share of the stage is done, and in long stages whenever some minutes went by."""

    def __init__(self, reporter: Reporter, stage: Stage, lines: int) -> None:
        self._reporter, self._stage, self._lines = reporter, stage, lines
        self._printed, self._when = 0, 0.0

    def __call__(self, done: int, detail: str = "", total: int | None = None) -> None:
        stage = self._stage
        stage.move(done, detail, total)
        due = self._lines * done // max(stage.total, 1)
        if due <= self._printed and stage.seconds < self._when + SILENCE:
            return
        self._printed, self._when = max(due, self._printed), stage.seconds
        texts = [f"{stage.title}: {stage.counts()}", detail, *stage.times()]
        self._reporter.say(", ".join(text for text in texts if text))
