"""What happens around a training that it cannot help: each is told in one line, and nothing that was there is lost."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import agents
import train_policy
from l2o_env.results.event_log import TensorBoardLog, read_scalars
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.agents.commands.jobs import train


@pytest.fixture(scope="module", autouse=True)
def _two_pairs(tinies: tuple[str, str]) -> None:
    """Registers ``tiny`` and ``tiny-4``."""


def _resume(folder: Path) -> int:
    return train_policy.main(["train", "--resume", str(folder)])


def _at(monkeypatch: pytest.MonkeyPatch, episode: int, fault: Any) -> None:
    """Lets something happen after the record of so many episodes."""
    log = TensorBoardLog.__call__

    def logged(self: TensorBoardLog, record: dict[str, Any]) -> None:
        log(self, record)
        if record["episode"] == episode:
            fault()

    monkeypatch.setattr(TensorBoardLog, "__call__", logged)


def test_a_disk_that_fills_under_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        _at(patch, 8, lambda: patch.setattr(os, "fsync", full))
        assert train(tmp_path / "run", "--save-every", "0") == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and "the disk is full" in error[0]
    assert [path.name for path in (tmp_path / "run" / "state").iterdir()] == ["000000.safetensors"]
    assert _resume(tmp_path / "run") == 0
    assert agents.load(tmp_path / "run").episodes == 12  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of TensorBoard's own thread
def test_a_folder_that_is_removed_under_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _at(monkeypatch, 8, lambda: shutil.rmtree(tmp_path / "run"))
    assert train(tmp_path / "run", "--save-every", "0") == 2
    assert "could not be written: No such file or directory" in capsys.readouterr().err


def test_the_memory_of_a_gpu_that_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def exhausted(*args: object, **keywords: object) -> None:
        raise torch.cuda.OutOfMemoryError("Tried to allocate 20.00 GiB.")

    _at(monkeypatch, 8, lambda: monkeypatch.setattr(Syn2RealVectorEnv, "step", exhausted))
    assert train(tmp_path / "run", "--save-every", "0") == 2
    error = capsys.readouterr().err
    assert "Tried to allocate 20.00 GiB" in error and "--num-envs" in error and "--resume" in error
    assert agents.load(tmp_path / "run").episodes == 8  # type: ignore[attr-defined]


def test_a_clock_that_is_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time

    class _CutOffError(BaseException):
        pass

    def cut_off() -> None:
        raise _CutOffError

    with monkeypatch.context() as patch:
        _at(patch, 12, cut_off)
        with pytest.raises(_CutOffError):
            train(tmp_path / "run", "--save-every", "0")
    monkeypatch.setattr(time, "time", lambda: now() - 86_400)
    assert _resume(tmp_path / "run") == 0
    assert [step for step, _ in read_scalars(tmp_path / "run" / "events")["rollout/ep_rew_mean"]] == [4, 8, 12]
