"""Tells that something takes a while: a bar on a terminal, a line in the log elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_log = logging.getLogger("l2o_env")


_part: ContextVar[str] = ContextVar("part", default="")


@contextmanager
def part(text: str) -> Iterator[None]:
    """Says which part of a longer job everything is that is announced within the block.

    Args:
        text: Such as ``"pair 2 of 5"``.
    """
    token = _part.set(f" ({text})")
    try:
        yield
    finally:
        _part.reset(token)


@contextmanager
def announced(text: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal that vanishes at its end; a line in the log elsewhere.

    Args:
        text: What is going on.
        total: Parts of it.

    Yields:
        To be called after each part.
    """
    text += _part.get()
    if not sys.stderr.isatty():
        _log.info("%s.", text)
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(12), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, TextColumn("left"), console=Console(stderr=True, emoji=False), transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda: progress.advance(task)
