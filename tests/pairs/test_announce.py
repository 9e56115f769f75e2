"""What takes a while is told: by a bar on a terminal, by a line in the log elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from l2o_env.pairs.announce import announced


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


def test_a_line_in_the_log_where_there_is_no_terminal(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    caplog.set_level("INFO", "l2o_env")
    with announced("Counting to two", 2) as advance:
        advance()
        advance()
    assert caplog.messages == ["Counting to two."]


def test_a_bar_on_a_terminal(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    caplog.set_level("INFO", "l2o_env")
    with announced("Counting to two", 2) as advance:
        advance()
        advance()
    assert not caplog.messages
    assert "Counting to two" in stream.getvalue() and "100%" in stream.getvalue()
