"""Ctrl-C is held back once, and only within the block."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from agents.commands.interrupts import deferred_interrupt


@pytest.fixture(autouse=True)
def _handled() -> Iterator[None]:
    """Python's own handler, which a job in the background does not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_one_is_told_and_the_second_acts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), deferred_interrupt() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_hear_of_none() -> None:
    found: list[bool] = []

    def block() -> None:
        with deferred_interrupt() as interrupted:
            found.append(interrupted())

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert found == [False]
