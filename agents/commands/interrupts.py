"""Ctrl-C and the signals that end a process, at a good moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, ``kill``, and the end of a terminal."""
INTERRUPTED = 128 + signal.SIGINT
"""Exit status after Ctrl-C, as shells have it."""


class Interrupt(KeyboardInterrupt):
    """One of ``SIGNALS`` has come.

    Args:
        number: Which.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def exit_status(interrupt: KeyboardInterrupt) -> int:
    """The exit status after an interrupt, as shells have it: 128 and the number of the signal."""
    return 128 + interrupt.number if isinstance(interrupt, Interrupt) else INTERRUPTED


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None], signals: tuple[signal.Signals, ...]) -> Iterator[None]:
    """Gives signals to a handler within the block, where they are heard: in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # What `nohup` makes a process ignore stays ignored; Ctrl-C is heard in jobs in the background too.
    heard = [s for s in signals if s == signal.SIGINT or signal.getsignal(s) is not signal.SIG_IGN]
    before = {each: signal.signal(each, handler) for each in heard}
    try:
        yield
    finally:
        for each, old in before.items():
            signal.signal(each, old)


@contextmanager
def raised_signals() -> Iterator[None]:
    """Makes ``SIGTERM`` and ``SIGHUP`` raise :class:`Interrupt` within the block, as Ctrl-C does."""

    def note(number: int, frame: FrameType | None) -> None:
        raise Interrupt(number)

    with _handled(note, tuple(each for each in SIGNALS if each != signal.SIGINT)):
        yield


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], int]]:
    """Holds the first of ``SIGNALS`` in a block back; a second one acts at once.

    Where signals are not heard, in any thread but the main one, nothing is held back.

    Yields:
        A function that gives the number of the signal that has come, or 0.
    """
    asked = 0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise Interrupt(number)
        asked = number

    with _handled(note, SIGNALS):
        yield lambda: asked
