"""The progress of a stage on a terminal: two lines that fit 80 columns, and one that stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .phases import Stage, duration

_TITLE, _WIDTH = 34, 20
"""Columns of the title, and of the bar itself."""


def drawn(stage: Stage) -> RenderableType:
    """A stage as it is now: title, bar and counts; below them times, and what is going on."""
    title = Text(stage.title)
    title.truncate(_TITLE, overflow="ellipsis")  # titles may be long; numbers are what is looked for
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_row(title, ProgressBar(max(stage.total, 1), stage.done, _WIDTH), stage.counts())
    below = " · ".join([", ".join(stage.times()), *([stage.detail] if stage.detail else [])])
    return Group(line, Text(f"  {below}", style="dim", no_wrap=True, overflow="ellipsis"))


@contextmanager
def bar(console: Console, stage: Stage) -> Iterator[None]:
    """Shows a stage on a terminal, and leaves a line of it.

    Args:
        console: The terminal.
        stage: Where it is, at any time.
    """
    try:
        with Live(console=console, refresh_per_second=4, transient=True, get_renderable=lambda: drawn(stage)):
            yield
    finally:
        console.print(f"{stage.title}: {stage.counts()} in {duration(stage.seconds)}", markup=False)
