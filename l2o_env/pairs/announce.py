"""Tells that something takes a while: a bar on a terminal, a line in the log elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_log = logging.getLogger("l2o_env")


@contextmanager
def announced(text: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal that vanishes at its end; a line in the log elsewhere.

    Args:
        text: What is going on.
        total: Parts of it.

    Yields:
        To be called after each part.
    """
    if not sys.stderr.isatty():
        _log.info("%s.", text)
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda: progress.advance(task)
