"""Run folders: made or refused with a reason; files whole or not there."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from l2o_env.errors import ConfigError
from l2o_env.results.run_folder import RunFolder, WriteError


def test_folders_are_named_by_time_and_never_shared(tmp_path: Path) -> None:
    folders = [RunFolder.create(root=tmp_path / "runs") for _ in range(3)]
    for folder in folders:
        folder.write_text("a.txt", "x")
    assert len({folder.path for folder in folders}) == 3
    assert all(folder.path.parent == tmp_path / "runs" for folder in folders)


def test_an_empty_folder_is_taken_and_one_with_something_is_not(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path).path == tmp_path
    (tmp_path / "results.csv").write_text("old")
    with pytest.raises(ConfigError, match="exists and is not empty; name another"):
        RunFolder.create(tmp_path)
    assert (tmp_path / "results.csv").read_text() == "old"


def test_a_path_that_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ConfigError, match=r"run folder .*file.* cannot be used: .* Name a folder"):
            RunFolder.create(path)


def test_a_folder_without_the_right_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("l2o_env.results.run_folder.tempfile.TemporaryFile", refuse)  # root may write anywhere
    with pytest.raises(ConfigError, match="cannot be used: Permission denied"):
        RunFolder.create(tmp_path / "run")


def test_json_holds_what_json_can(tmp_path: Path) -> None:
    value = {"a": np.float32(0.5), "b": (np.int64(2), np.array([1.0, np.nan])), "path": tmp_path, "x": float("inf")}
    RunFolder(tmp_path).write_json("a.json", value)
    read = json.loads((tmp_path / "a.json").read_text())
    assert read == {"a": 0.5, "b": [2, [1.0, None]], "path": str(tmp_path), "x": None}


def test_a_disk_that_fills_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.release()
    folder.write_text("old.txt", "old")

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"new\.txt could not be written: the disk is full\. Nothing half-written"):
        folder.write_text("new.txt", "new")
    with pytest.raises(WriteError, match=r"the disk is full\. It is what it was before, and what the run wrote"):
        folder.write_json("old.txt", {})
    assert {p.name: p.read_text() for p in folder.path.iterdir()} == {"old.txt": "old"}


def test_guard_explains_only_failures_to_write(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(WriteError, match="policy could not be written: no rights"), folder.guard("policy"):
        raise OSError("no rights")
    with pytest.raises(KeyError), folder.guard("policy"):
        raise KeyError("a bug")
    with pytest.raises(KeyboardInterrupt), folder.writing("a.txt") as path:
        path.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_safetensors_own_error_for_a_full_disk_is_explained(tmp_path: Path) -> None:
    from safetensors import SafetensorError

    with pytest.raises(WriteError, match="could not be written: I/O error: no space"), RunFolder(tmp_path).guard("p"):
        raise SafetensorError("I/O error: no space")


def test_a_folder_that_stayed_empty_is_taken_away(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.remove_if_empty()
    assert not folder.path.exists()
    folder = RunFolder.create(tmp_path / "run")
    folder.write_text("a.txt", "x")
    folder.remove_if_empty()
    assert (folder.path / "a.txt").exists()


def test_what_came_to_nothing_is_taken_away(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.release()
    for name in ("a.txt", "b.txt"):
        folder.write_text(name, "x")
    (folder.path / "events" / "deep").mkdir(parents=True)
    folder.discard("a.txt", "events", "absent")
    assert [path.name for path in folder.path.iterdir()] == ["b.txt"]


def test_a_folder_is_one_runs_until_it_is_released(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    for other in (RunFolder.create, lambda path: RunFolder(path).claim()):
        with pytest.raises(ConfigError, match="Another run is writing"):
            other(tmp_path / "run")
    folder.release()
    assert list(folder.path.iterdir()) == []
    RunFolder(tmp_path / "run").claim()


def test_the_folder_of_a_training_that_was_cut_off_names_the_mend(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with pytest.raises(ConfigError, match=r"`l2o train --resume .*` goes on with it"):
        RunFolder.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_what_killed_writers_leave_is_removed(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    for name in (".config-ab12.tmp.json", "policy/.policy-x_.tmp.safetensors", "policy/policy.json", "a-b.tmp"):
        (tmp_path / name).write_text("x")
    RunFolder(tmp_path).remove_remains()
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == [
        "a-b.tmp",
        "policy/policy.json",
    ]


def test_a_run_that_was_killed_as_it_began_leaves_a_folder_for_the_next(tmp_path: Path) -> None:
    (tmp_path / ".config-x1y2.tmp.json").write_text("{")
    folder = RunFolder.create(tmp_path)
    assert not list(tmp_path.glob(".config*"))
    folder.release()
    (tmp_path / ".config-x1y2.tmp.json").write_text("{")
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(ConfigError, match="exists and is not empty; name another"):
        RunFolder.create(tmp_path)
    assert (tmp_path / ".config-x1y2.tmp.json").exists()


def test_an_error_says_what_is_there(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    (folder.path / "policy").mkdir(parents=True)
    with pytest.raises(WriteError, match=r"What is in .*policy may lack a part; whatever else"), folder.guard("policy"):
        raise OSError("the disk")
    shutil.rmtree(folder.path)
    with pytest.raises(WriteError, match=r"No such file or directory\. The folder .*run is no longer there\.$"):
        folder.write_text("a.txt", "a")


def test_names_that_are_no_text_are_kept_in_json(tmp_path: Path) -> None:
    value = {"source": os.fsdecode(b"caf\xe9"), "target": "café"}
    RunFolder(tmp_path).write_json("a.json", value)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value
