"""``l2o plot``: every picture of a run, also of one that was killed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import train_policy
from agents.commands.plot import CAPTIONS, training_entropy
from l2o_env.results.record import parts_folder


def test_plot_draws_every_picture(recorded_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_policy.main(["plot", str(recorded_run), "--out", str(tmp_path / "p")]) == 0
    printed = [Path(line) for line in capsys.readouterr().out.split("\n") if line]
    assert [path.stem for path in printed] == list(CAPTIONS)
    for path in printed:
        with Image.open(path) as picture:
            assert picture.width >= 500
            assert np.asarray(picture.convert("L")).std() > 5
    other = ["--policy", "uniform", "--pairs", "tiny-4", "--out", str(tmp_path)]
    assert train_policy.main(["plot", str(recorded_run), *other]) == 0
    assert "No picture" not in capsys.readouterr().err


def test_plot_reads_what_a_killed_run_left(
    recorded_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = parts_folder(tmp_path / "actions.parquet")
    parts.mkdir()
    shutil.copy(recorded_run / "actions.parquet", parts / "000000.parquet")
    assert train_policy.main(["plot", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert str(tmp_path / "plots" / "actions.png") in told.out
    assert "No picture learning_curve: there are no TensorBoard events" in told.err


def test_a_run_that_was_interrupted_in_training_shows_its_learning_curve(
    recorded_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(recorded_run / "events", tmp_path / "events")
    shutil.copy(recorded_run / "config.json", tmp_path)
    assert train_policy.main(["plot", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.out == f"{tmp_path / 'plots' / 'learning_curve.png'}\n"
    assert "No picture actions: the run has not evaluated its policy yet" in told.err
    assert train_policy.main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "<h2>Training</h2>" in page and "<h2>Actions</h2>" not in page
    assert train_policy.main(["plot", str(tmp_path), "--policy", "reinforce"]) == 2


def test_entropy_of_training_as_the_events_have_it() -> None:
    scalars = {"train/entropy_loss": [(16, -6.0)]}
    assert training_entropy(scalars, "ppo", 3) == {"ppo": ([16.0], [2.0])}
    assert training_entropy({"train/entropy": [(1, 0.5)]}, "p", 3) == {"p": ([1.0], [0.5])}
    assert training_entropy({}, "p", 3) == {}


def test_bad_input_is_told_in_one_line(recorded_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    cases = [
        ([str(tmp_path / "nowhere")], "There is no folder"),
        ([str(tmp_path)], "has no recording (actions.parquet)"),
        ([str(recorded_run), "--policy", "reinforced"], "Did you mean 'reinforce'"),
        ([str(recorded_run), "--out", str(tmp_path / "file" / "x")], "could not be written: "),
    ]
    for arguments, told in cases:
        assert train_policy.main(["plot", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert told in error
