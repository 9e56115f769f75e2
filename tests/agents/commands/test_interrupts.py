"""Ctrl-C is held back once, and only within the block."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from agents.commands.interrupts import Interrupt, deferred_interrupt, exit_status, raised_signals


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
    found: list[int] = []

    def block() -> None:
        with deferred_interrupt() as interrupted:
            found.append(interrupted())

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert found == [0]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_end_of_a_terminal_and_kill_are_as_ctrl_c(number: signal.Signals, status: int) -> None:
    before = signal.signal(number, signal.SIG_DFL)  # `nohup` and the like have it ignored
    try:
        _raised_and_deferred(number, status)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


def _raised_and_deferred(number: signal.Signals, status: int) -> None:
    with pytest.raises(Interrupt) as raised, raised_signals(), deferred_interrupt() as interrupted:
        signal.raise_signal(number)
        assert interrupted() == number
        signal.raise_signal(number)
    assert exit_status(raised.value) == status
    with pytest.raises(Interrupt), raised_signals():
        signal.raise_signal(number)


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    try:
        with raised_signals(), deferred_interrupt() as interrupted:
            signal.raise_signal(signal.SIGHUP)
            assert interrupted() == 0
    finally:
        signal.signal(signal.SIGHUP, before)
