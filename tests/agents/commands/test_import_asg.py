"""``l2o import-asg``: what it says of a converted file; the conversion itself is tested with the agent."""

from __future__ import annotations

from pathlib import Path

import pytest

import train_policy
from agents.asg.released import Converted
from agents.commands.import_asg import described


def test_it_says_what_became_what_and_where_only_the_order_told() -> None:
    named = Converted({}, [], ["a", "b", "c", "d", "e"], "name", ["h0", "h1"], "number")
    assert described(named) == [
        "LSTMs, by name: train_ce from a, train_kl from b, progress from c, head_mean from d, head_std from e.",
        "Heads from the first layer group to the last, by number: h0, h1.",
    ]
    unnamed = described(Converted({}, ["critic.weight"], ["a", "b", "c", "d", "e"], "order", ["h0", "h1"], "order"))
    assert unnamed[2] == "Left out: critic.weight."
    assert "tells which of the LSTMs and of the heads is which" in unnamed[3]


def test_a_file_is_no_folder_to_write_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").touch()
    assert train_policy.main(["import-asg", str(tmp_path / "x.pth"), "--out", str(tmp_path / "out")]) == 2
    assert f"error: {tmp_path / 'out'} exists and is not empty; name another folder" in capsys.readouterr().err
