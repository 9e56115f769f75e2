"""``l2o train --config``: settings of an earlier run, which may be anybody's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import train_policy
from agents.commands.saved_settings import completed, differences
from agents.commands.train_options import TrainArgs
from l2o_env.errors import ConfigError

CODE = "folders:source=renders,backbone=net.py:Net"


@pytest.fixture(autouse=True)
def _two_pairs(tinies: tuple[str, str]) -> None:
    """Registers ``tiny`` and ``tiny-4``."""


def _saved(folder: Path, args: TrainArgs) -> Path:
    """The file that a run with these settings writes."""
    path = folder / "config.json"
    path.write_text(json.dumps(args.plan().description(), default=str))
    return path


def test_a_run_is_run_again_from_its_file(finished_run: Path, tmp_path: Path) -> None:
    assert train_policy.main(["train", "--config", str(finished_run), "--out", str(tmp_path / "again")]) == 0
    tables = [pd.read_csv(folder / "results.csv") for folder in (finished_run, tmp_path / "again")]
    pd.testing.assert_frame_equal(*tables)
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    assert again["arguments"]["config"] == str(finished_run)
    assert TrainArgs.from_saved(again["arguments"]).episodes == 12


def test_what_is_given_beside_it_wins_and_what_differs_is_said(tmp_path: Path) -> None:
    path = _saved(
        tmp_path, TrainArgs(pairs=("tiny",), seed=3, quick=True, budget=40, hp=("gamma=0.9", "noise_std=0.2"))
    )
    args = TrainArgs(config=path, seed=0, full=True, episodes=64, hp=("gamma=0.5",))
    found = completed(args, ["config", "seed", "full", "episodes", "hp"])
    assert found == TrainArgs(
        config=path, pairs=("tiny",), seed=0, full=True, budget=40, episodes=64,
        hp=("gamma=0.9", "noise_std=0.2", "gamma=0.5"),
    )  # fmt: skip
    told = differences(found.plan())
    assert told.startswith(f"Settings as in {path}, but: gamma 0.5 (there 0.9), episodes 64 (there 32), ")
    assert "seed 0 (there 3)" in told and "noise_std" not in told and "budget" not in told
    same = completed(TrainArgs(config=tmp_path), ["config"])
    assert same.seed == 3
    assert differences(same.plan()) == f"Settings as in {path}."


def test_hyper_parameters_of_another_algorithm_are_left_out(tmp_path: Path) -> None:
    path = _saved(tmp_path, TrainArgs(pairs=("tiny",), hp=("noise_std=0.2",)))
    found = completed(TrainArgs(config=path, algo="asg"), ["config", "algo"])
    assert (found.algo, found.hp) == ("asg", ())


def test_a_file_of_anybodys_runs_no_code_and_names_no_machine(tmp_path: Path) -> None:
    path = _saved(tmp_path, TrainArgs(pairs=("tiny",)))
    config = json.loads(path.read_text())
    config["arguments"] |= {"pairs": [CODE], "ray": "10.0.0.1:6379", "gpus_per_worker": 1.0, "out": "/elsewhere"}
    path.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"may run code\. If you trust it, name it again: --config .* --pairs PAIR"):
        completed(TrainArgs(config=path), ["config"])
    found = completed(TrainArgs(config=path, pairs=(CODE,)), ["config", "pairs"])
    assert (found.pairs, found.ray, found.gpus_per_worker, found.out) == ((CODE,), None, 0.0, None)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"arguments": 3}', '{"arguments": {"seed": "x"}}'])
def test_what_holds_no_settings_of_a_training_is_told(content: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(ConfigError, match=r"There is no file .*config\.json; name the config\.json of a training"):
        completed(TrainArgs(config=tmp_path), ["config"])
    path.write_text(content)
    with pytest.raises(ConfigError):
        completed(TrainArgs(config=path), ["config"])


def test_with_resume_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options: list[Any] = ["--resume", str(tmp_path), "--config", str(tmp_path)]
    assert train_policy.main(["train", *options]) == 2
    assert "leave out --config" in capsys.readouterr().err
