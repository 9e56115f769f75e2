"""Atomic writing: all of a file or nothing of it."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from l2o_env.atomic import atomic_path


def test_a_finished_file_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".csv"
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_no_debris(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(type(error)), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_a_failure_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mid-way"), atomic_path(tmp_path / "new.bin") as temporary:
        temporary.write_bytes(b"half")
        raise ValueError("mid-way")
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_replaces_the_temporary_file_itself(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.unlink()
        temporary.write_text("again")
    assert (tmp_path / "a.txt").read_text() == "again"


def test_the_file_has_ordinary_rights(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    with atomic_path(tmp_path / "atomic") as temporary:
        temporary.write_text("x")
    with atomic_path(tmp_path / "tensors") as temporary:
        save_file({"x": torch.zeros(1)}, temporary)  # which replaces the file by a private one
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ordinary", "atomic", "tensors")}
    assert len(modes) == 1


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "missing" / "a.txt"):
        pass
