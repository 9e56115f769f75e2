"""Commands that the documents give are ones that the command line takes."""

from __future__ import annotations

import re
import shlex

import pytest

from agents.commands.command_line import read
from agents.commands.evaluate_options import EvaluateArgs
from agents.commands.train_options import TrainArgs
from agents.options import environment_settings
from tests.documents import DOCUMENTS, blocks

_OPEN = re.compile(r"\$|…|\.\.\.|\b[A-Z_]{3,}\b")
"""What is left open in a command: variables of a shell, and names for the reader to fill in."""


def _commands(name: str) -> list[tuple[str, list[str]]]:
    """Those of ``l2o NAME`` in the documents that are complete, and where they stand."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        lines = [line.split("&&")[-1] for block in blocks(text, "sh") for line in block.split("\n")]
        lines += re.findall(r"`(l2o [^`]+)`", text.replace("\n", " "))
        for line in lines:
            words = shlex.split(line, comments=True)
            if words[:2] == ["l2o", name] and len(words) > 2 and not _OPEN.search(line):
                found.append((path.name, words[2:]))
    return found


@pytest.mark.parametrize(("where", "words"), [x for x in _commands("train") if "--resume" not in x[1]])
def test_trainings_can_be_given(where: str, words: list[str]) -> None:
    assert read(TrainArgs, "l2o train", words, TrainArgs.groups).plan().episodes > 0


@pytest.mark.parametrize(("where", "words"), [x for x in _commands("evaluate") if not x[1][0].startswith("-")])
def test_evaluations_can_be_given(where: str, words: list[str]) -> None:
    args = read(EvaluateArgs, "l2o evaluate", words, {})
    args.check()
    environment_settings(args.env, ())


def test_there_are_such_commands() -> None:
    assert len(_commands("train")) > 10 and len(_commands("evaluate")) > 10
