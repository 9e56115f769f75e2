"""Command lines: groups of help, and one line for what is nearly right."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass, fields
from typing import Annotated

import pytest
from tyro.conf import Positional, UseAppendAction, arg

from agents.commands.command_line import read
from agents.commands.train_options import TrainArgs
from l2o_env.errors import ConfigError


@dataclass(frozen=True)
class Args:
    """Does something that takes a sentence of more than eighty characters to say, so that it has to be wrapped.

    And more of it.
    """

    run: Positional[str]
    """The run."""
    episodes: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 3)")] = None
    """How many: this text goes
    on."""
    rate: float = 0.1
    """The rate."""
    hp: UseAppendAction[tuple[str, ...]] = ()
    """Others."""


GROUPS = {"what": ("run", "rate"), "how_long": ("episodes", "hp")}


@pytest.mark.parametrize("groups", [{}, GROUPS], ids=["together", "grouped"])
def test_settings_are_read(groups: dict[str, tuple[str, ...]]) -> None:
    assert read(Args, "l2o x", ["a"], groups) == Args("a")
    given = ["--rate=1e-3", "a", "--episodes", "3", "--hp", "--x=1", "--hp", "y"]
    with pytest.raises(ConfigError, match="Unknown option '--x=1'"):
        read(Args, "l2o x", given, groups)
    given[5] = "x=1"
    assert read(Args, "l2o x", given, groups) == Args("a", 3, 1e-3, ("x=1", "y"))
    assert read(Args, "l2o x", ["a", "--episodes", "None", "--rate", "-1"], groups) == Args("a", rate=-1.0)


def test_help_is_grouped_and_wrapped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        read(Args, "l2o x", ["--help"], GROUPS)
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert text.index("what options") < text.index("--rate FLOAT  ") < text.index("how-long options")
    assert "How many: this text goes on. (default: 3)" in text
    assert "\nAnd more of it.\n" in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a", "--epsiodes", "3"], "Unknown option '--epsiodes'. Did you mean '--episodes'? `l2o x --help` lists all."),
        (["a", "--fly"], "Unknown option '--fly'. `l2o x --help` lists all."),
        (["a", "--episodes", "three"], "--episodes is 'three'; expected an integer."),
        (["a", "--rate=fast"], "--rate is 'fast'; expected a number."),
    ],
)
def test_what_is_nearly_right_is_told_in_one_line(arguments: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(Args, "l2o x", arguments, GROUPS)
    assert str(error.value) == told


def test_the_rest_is_told_without_colours(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["a", "--episodes"]):
        with pytest.raises(SystemExit) as ended:
            read(Args, "l2o x", arguments, {})
        assert ended.value.code == 2
        told = capsys.readouterr()
        assert "l2o x --help" in told.err + told.out
        assert "\x1b" not in told.err + told.out


def test_every_option_of_training_has_a_group() -> None:
    assert {name for names in TrainArgs.groups.values() for name in names} == {f.name for f in fields(TrainArgs)}
    assert read(TrainArgs, "l2o train", ["--hp", "gamma=0.9", "--quick"], TrainArgs.groups) == TrainArgs(
        hp=("gamma=0.9",), quick=True
    )


def test_options_that_no_group_names_come_last(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read(Args, "l2o x", ["--help"], {"what": ("run", "rate")})
    text = capsys.readouterr().out
    assert text.index("--rate FLOAT  ") < text.index("other options") < text.index("--episodes N  ")


def test_help_for_a_terminal_that_shows_little_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, "ascii", newline="\n"))
    with pytest.raises(SystemExit):
        read(TrainArgs, "l2o train", ["--help"], TrainArgs.groups)
    sys.stdout.flush()
    assert b"effort options" in raw.getvalue()
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(SystemExit) as ended:
        read(TrainArgs, "l2o train", ["--help"], TrainArgs.groups)
    assert ended.value.code == 0
