"""The proxy cache: built once, verified, mended, shared between processes, never half-written."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from filelock import FileLock
from torch import Tensor

from l2o_env.pairs import cache
from l2o_env.pairs.cache import cache_folder, cache_path, cached, checksum

SETTINGS = {"seed": 1, "layers": [1, 2]}
TEMPLATE = {"w": torch.zeros(2, 3), "b": torch.zeros(3)}


def _tensors() -> dict[str, Tensor]:
    return {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3)}


class _Builder:
    """Counts how often it builds."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, Tensor]:
        self.calls += 1
        return _tensors()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("L2O_ENV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _assert_right(tensors: dict[str, Tensor]) -> None:
    assert set(tensors) == {"w", "b"}
    assert all(torch.equal(tensors[name], right) for name, right in _tensors().items())


def test_folder_is_the_variable_or_the_users_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == folder
    monkeypatch.delenv("L2O_ENV_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    assert "l2o-env" in str(cache_folder())


def test_the_second_time_nothing_is_built(folder: Path) -> None:
    build = _Builder()
    _assert_right(cached("proxy", SETTINGS, TEMPLATE, build))
    _assert_right(cached("proxy", SETTINGS, TEMPLATE, build))
    assert build.calls == 1
    assert [p.name for p in folder.glob("*.safetensors")] == [cache_path("proxy", SETTINGS).name]
    assert not list(folder.glob("*.tmp*"))


def test_other_settings_are_another_file(folder: Path) -> None:
    assert cache_path("proxy", SETTINGS) == cache_path("proxy", dict(reversed(SETTINGS.items())))
    assert cache_path("proxy", SETTINGS) != cache_path("proxy", {**SETTINGS, "seed": 2})


def _flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _other_shapes(path: Path) -> None:
    tensors = {"w": torch.zeros(3, 2), "b": torch.zeros(3)}
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    safetensors.torch.save_file(tensors, path, {**metadata, "sha256": checksum(tensors)})


def _other_settings(path: Path) -> None:
    tensors = _tensors()
    safetensors.torch.save_file(tensors, path, {"sha256": checksum(tensors), "settings": "{}"})


@pytest.mark.parametrize("damage", [_flip_a_byte, _cut, _empty, _other_shapes, _other_settings])
def test_a_damaged_file_is_rebuilt_with_one_warning(folder: Path, damage: Any) -> None:
    cached("proxy", SETTINGS, TEMPLATE, _tensors)
    path = cache_path("proxy", SETTINGS)
    damage(path)
    build = _Builder()
    with pytest.warns(RuntimeWarning, match="damaged .*built anew") as caught:
        _assert_right(cached("proxy", SETTINGS, TEMPLATE, build))
    assert str(path) in str(caught[0].message)
    assert (build.calls, len(caught)) == (1, 1)
    _assert_right(cached("proxy", SETTINGS, TEMPLATE, build))
    assert build.calls == 1


def test_an_unwritable_folder_warns_once_and_builds_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("L2O_ENV_CACHE", str(tmp_path / "file" / "cache"))
    build = _Builder()
    with pytest.warns(RuntimeWarning, match="Set L2O_ENV_CACHE to a writable folder"):
        _assert_right(cached("proxy", SETTINGS, TEMPLATE, build))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _assert_right(cached("proxy", SETTINGS, TEMPLATE, build))
    assert build.calls == 2


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), safetensors.SafetensorError("No space left on device")]
)
def test_a_full_disk_leaves_nothing_half_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        _assert_right(cached("proxy", SETTINGS, TEMPLATE, _tensors))
    assert [p.suffix for p in folder.iterdir() if p.suffix != ".lock"] == []


def test_an_interrupted_build_leaves_no_file_and_no_lock(folder: Path) -> None:
    def interrupted() -> dict[str, Tensor]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("proxy", SETTINGS, TEMPLATE, interrupted)
    _assert_right(cached("proxy", SETTINGS, TEMPLATE, _tensors))


def _child(folder: str, log: str) -> None:
    os.environ["L2O_ENV_CACHE"] = folder

    def build() -> dict[str, Tensor]:
        with open(log, "a") as file:
            file.write("built\n")
        time.sleep(0.3)
        return _tensors()

    _assert_right(cached("proxy", SETTINGS, TEMPLATE, build))


@contextmanager
def _processes(count: int, *args: str) -> Iterator[list[Any]]:
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_child, args=args) for _ in range(count)]
    for child in children:
        child.start()
    yield children
    for child in children:
        child.join(60)


def test_two_processes_at_once_build_once(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with _processes(2, str(folder), str(log)) as children:
        pass
    assert [child.exitcode for child in children] == [0, 0]
    assert log.read_text() == "built\n"


def test_a_builder_that_is_stopped_is_told_of_and_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache, "TELL_SECONDS", 0.05)
    monkeypatch.setattr(cache, "WAIT_SECONDS", 0.05)
    folder.mkdir()
    path, build = cache_path("proxy", SETTINGS), _Builder()
    with FileLock(f"{path}.lock"):
        assert torch.equal(cached("proxy", SETTINGS, TEMPLATE, build)["w"], _tensors()["w"])
    assert build.calls == 1 and not path.exists()
    assert "Waiting for another process" in caplog.text and "is it stopped?" in caplog.text
    cached("proxy", SETTINGS, TEMPLATE, build)
    assert path.exists()
