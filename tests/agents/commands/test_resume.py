"""``l2o train --resume``: a run that was cut off ends as one that was not."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import train_policy
from agents.algorithms.registry import ALGORITHMS
from agents.commands.train import _Run
from agents.commands.training_state import TrainingStates
from l2o_env.results.event_log import TensorBoardLog, read_scalars
from l2o_env.results.record import StepRecorder
from l2o_env.results.run_folder import RunFolder
from tests.agents.commands.jobs import train

TIMES = ("time/time_elapsed", "train/time/data_wait", "time/data_wait")


@pytest.fixture(scope="module", autouse=True)
def _two_pairs(tinies: tuple[str, str]) -> None:
    """Registers ``tiny`` and ``tiny-4``."""


class _KilledError(BaseException):
    """Ends a run on the spot, as SIGKILL does."""


def _run(folder: Path, name: str = "reinforce") -> int:
    return train(folder, "--algo", name, "--checkpoints", "3", "--save-every", "0")


def _resume(folder: Path, *more: str) -> int:
    return train_policy.main(["train", "--resume", str(folder), *more])


def _kill_at(monkeypatch: pytest.MonkeyPatch, owner: Any, method: str, call: int) -> None:
    """Makes a method's n-th call the end of the run."""
    original, calls = getattr(owner, method), 0

    def killed(*args: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise _KilledError
        return original(*args, **keywords)

    monkeypatch.setattr(owner, method, killed)


def _scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    return {tag: rows for tag, rows in read_scalars(folder / "events").items() if tag not in TIMES}


def assert_same(folder: Path, whole: Path) -> None:
    """Two runs have the same policies, tables, recordings and logs, and nothing more."""
    names = [sorted(str(p.relative_to(f)) for p in f.rglob("*") if "events" not in str(p)) for f in (folder, whole)]
    assert names[0] == names[1]
    for path in whole.rglob("policy.*"):
        assert (folder / path.relative_to(whole)).read_bytes() == path.read_bytes()
    assert (folder / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    pd.testing.assert_frame_equal(*(pd.read_parquet(f / "actions.parquet") for f in (folder, whole)))
    assert _scalars(folder) == _scalars(whole)
    results = [json.loads((f / "results.json").read_text()) for f in (folder, whole)]
    for each in results:
        del each["seconds"]
    assert results[0] == results[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs that nothing has cut off."""
    runs = {}
    for name in ("reinforce", "ppo", "sac"):
        if not ALGORITHMS[name].path or pytest.importorskip("sb3_contrib"):
            runs[name] = tmp_path_factory.mktemp("whole") / name
            assert _run(runs[name], name) == 0
    return runs


PLACES = [
    ("reinforce", _Run, "_save_state", 1),  # before there is any state
    ("reinforce", _Run, "_save_state", 2),
    ("reinforce", TensorBoardLog, "__call__", 3),  # after the state of the second batch
    ("reinforce", _Run, "_save_policy", 1),
    ("reinforce", StepRecorder, "__call__", 5),
    ("reinforce", _Run, "_finish", 1),
    ("reinforce", _Run, "_log_results", 1),
    ("reinforce", RunFolder, "write_json", 3),  # settings, results of the first pair, then those of all
    ("ppo", TensorBoardLog, "__call__", 2),
    ("ppo", _Run, "_save_policy", 1),
    ("sac", TensorBoardLog, "__call__", 3),
    ("sac", _Run, "_save_state", 4),
]


@pytest.mark.parametrize(("name", "owner", "method", "call"), PLACES)
def test_a_killed_run_goes_on_bit_for_bit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: dict[str, Path],
    name: str,
    owner: Any,
    method: str,
    call: int,
) -> None:
    with monkeypatch.context() as patch:
        _kill_at(patch, owner, method, call)
        with pytest.raises(_KilledError):
            _run(tmp_path / "run", name)
    (tmp_path / "run" / ".policy-cut-off.tmp.json").write_text("{")
    assert _resume(tmp_path / "run") == 0
    assert_same(tmp_path / "run", whole[name])


def test_ctrl_c_is_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    log = TensorBoardLog.__call__

    def interrupt(self: TensorBoardLog, record: dict[str, Any]) -> None:
        log(self, record)
        if record["episode"] == 8:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(TensorBoardLog, "__call__", interrupt)
        assert train(tmp_path / "run", "--checkpoints", "3", "--save-every", "1e9") == 143
    assert f"--resume {tmp_path / 'run'}" in capsys.readouterr().err
    assert train(tmp_path / "run") == 2
    assert f"`l2o train --resume {tmp_path / 'run'}` goes on" in capsys.readouterr().err
    (tmp_path / "run" / "learning_curve.png").unlink()
    assert _resume(tmp_path / "run") == 0
    assert_same(tmp_path / "run", whole["reinforce"])


def test_what_a_kill_in_the_last_moment_leaves_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        _kill_at(patch, TrainingStates, "discard", 1)
        with pytest.raises(_KilledError):
            _run(tmp_path / "run")
    assert (tmp_path / "run" / "state").is_dir()
    assert _resume(tmp_path / "run") == 2
    assert "has finished; there is nothing to go on with" in capsys.readouterr().err
    assert_same(tmp_path / "run", whole["reinforce"])


@pytest.fixture
def cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, Path]) -> Path:
    """A run that was killed after its second batch of episodes."""
    with monkeypatch.context() as patch:
        _kill_at(patch, TensorBoardLog, "__call__", 3)
        with pytest.raises(_KilledError):
            _run(tmp_path / "run")
    return tmp_path / "run"


def test_the_newest_good_state_is_taken(
    cut_off: Path, whole: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    states = sorted((cut_off / "state").iterdir())
    assert len(states) == 2
    data = bytearray(states[-1].read_bytes())
    data[len(data) // 2] ^= 1
    states[-1].write_bytes(data)
    assert _resume(cut_off) == 0
    assert "is damaged" in capsys.readouterr().err
    assert_same(cut_off, whole["reinforce"])


def test_without_a_good_state_nothing_is_gone_on_with(cut_off: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (cut_off / "state").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert _resume(cut_off) == 2
    assert "No state in" in capsys.readouterr().err


def test_what_cannot_be_gone_on_with_is_told(
    cut_off: Path, whole: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _resume(whole["reinforce"]) == 2
    assert "has finished" in capsys.readouterr().err
    assert _resume(tmp_path / "none") == 2
    assert "no training that was cut off" in capsys.readouterr().err
    assert _resume(cut_off, "--budget", "8") == 2
    assert "leave out --budget" in capsys.readouterr().err
    config = json.loads((cut_off / "config.json").read_text())
    (cut_off / "config.json").write_text(json.dumps({**config, "episodes": 16}))
    assert _resume(cut_off) == 2
    assert "another 'episodes'" in capsys.readouterr().err
    evil = "folders:backbone=os:abort"
    config["environment"]["pairs"] = config["arguments"]["pairs"] = [evil]
    (cut_off / "config.json").write_text(json.dumps(config))
    assert _resume(cut_off) == 2
    assert "which may run code" in capsys.readouterr().err
    there = {**config["arguments"], "pairs": ["tiny"], "ray": "10.0.0.66:6379"}
    (cut_off / "config.json").write_text(json.dumps({**config, "arguments": there}))
    assert _resume(cut_off) == 2
    assert "on the Ray cluster '10.0.0.66:6379'. If you trust it, name it again" in capsys.readouterr().err
    config["environment"]["pairs"] = ["tiny"]
    (cut_off / "config.json").write_text(json.dumps(config))  # the command line that it keeps says otherwise
    assert _resume(cut_off) == 2
    assert "which may run code" in capsys.readouterr().err


def test_two_runs_do_not_write_to_one_folder(cut_off: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(cut_off)
    folder.claim()
    before = sorted(cut_off.rglob("*"))
    assert _resume(cut_off) == 2
    assert "Another run is writing" in capsys.readouterr().err
    assert train(cut_off) == 2
    assert "Another run is writing" in capsys.readouterr().err
    assert sorted(cut_off.rglob("*")) == before
    folder.release()
    shutil.rmtree(cut_off)


def test_an_error_keeps_the_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, Path]) -> None:
    log = TensorBoardLog.__call__

    def fail(self: TensorBoardLog, record: dict[str, Any]) -> None:
        if record["episode"] == 12:
            raise RuntimeError("a worker has died")
        log(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(TensorBoardLog, "__call__", fail)
        with pytest.raises(RuntimeError, match="a worker has died"):
            _run(tmp_path / "run")
    assert (tmp_path / "run" / "policy" / "policy.json").is_file()
    assert _resume(tmp_path / "run") == 0
    assert_same(tmp_path / "run", whole["reinforce"])
