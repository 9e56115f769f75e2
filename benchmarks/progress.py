"""Progress on standard error."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Shows what is going on: in place on a terminal, line by line elsewhere; an empty text clears it."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)
