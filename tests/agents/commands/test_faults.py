"""What happens around a training that it cannot help: each is told in one line, and nothing that was there is lost."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import agents
import train_policy
from l2o_env import pairs
from l2o_env.results.event_log import TensorBoardLog, read_scalars
from l2o_env.vector_env import Syn2RealVectorEnv
from tests import image_trees
from tests.agents.commands.jobs import train
from tests.image_trees import class_folders, save_weights


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


def test_a_folder_that_becomes_read_only_under_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read_only(*args: object, **keywords: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")  # for rights would not hold back a superuser

    with monkeypatch.context() as patch:
        _at(patch, 8, lambda: patch.setattr(tempfile, "mkstemp", read_only))
        assert train(tmp_path / "run", "--save-every", "0") == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and "could not be written: Read-only file system" in error[0]
    assert _resume(tmp_path / "run") == 0
    assert agents.load(tmp_path / "run").episodes == 12  # type: ignore[attr-defined]


def test_an_image_that_disappears_under_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, weights = class_folders(tmp_path / "source"), save_weights(tmp_path / "weights.pt")
    monkeypatch.setenv("L2O_ENV_CACHE", str(tmp_path / "cache"))
    spec = pairs.spec(
        "folders", source=source, weights=weights, backbone=f"{image_trees.__file__}:MicroNet", size=12, n_validation=4,
        cache_gb=0,  # in memory it would not be missed
    )  # fmt: skip
    image = source / "cat" / "000.png"
    with monkeypatch.context() as patch:
        _at(patch, 4, image.unlink)
        assert train(tmp_path / "run", "--save-every", "0", "--pairs", spec, "--eval-pairs", spec) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and f"{image} cannot be decoded (No such file or directory)" in error[0]


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
