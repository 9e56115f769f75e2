"""States on disk: read as they were written, bit for bit, or refused."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch

from l2o_env.errors import ConfigError
from l2o_env.inner.window import Measurements
from l2o_env.results.state_file import read_state, write_state


class _Point(NamedTuple):
    x: int
    y: int


STATE: dict[str, Any] = {
    "plain": [None, True, 2**127 + 1, 0.1, float("nan"), -0.0, "a\u2028b", ()],
    "nested": {0: {"a": (1, [2, (3,)])}, 1: {}},
    "arrays": [
        np.arange(6.0).reshape(2, 3)[:, ::2],
        np.array([True, False]),
        np.zeros((0, 3), np.float32),
        np.array(3),
    ],
    "tensors": [torch.ones(2, dtype=torch.bfloat16), torch.tensor(7), torch.arange(4).view(2, 2).T],
    "kinds": [_Point(1, 2), Measurements(*(np.full(2, float(k)) for k in range(8)))],
    "lists that look like others": [["tensor", "0"], ["dict", 1], ["list"]],
}
KINDS = (_Point, Measurements)


def _told(value: Any) -> Any:
    """A value in a form that equality compares bit for bit."""
    if isinstance(value, torch.Tensor):
        return "tensor", value.dtype, value.tolist()
    if isinstance(value, np.ndarray):
        return "array", value.dtype, value.shape, value.tolist()
    if isinstance(value, Measurements):
        return "measurements", _told(vars(value))
    if isinstance(value, dict):
        return {key: _told(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [_told(item) for item in value]
    return repr(value)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    write_state(tmp_path / "a", STATE, KINDS)
    assert _told(read_state(tmp_path / "a", KINDS)) == _told(STATE)
    write_state(tmp_path / "a", None)
    assert read_state(tmp_path / "a") is None
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_state(path, {"x": torch.arange(3.0), "y": 5})
    data = path.read_bytes()
    for k in range(8, len(data)):  # those of the length of the header too, of which most are refused by their size
        path.write_bytes(data[:k] + bytes([data[k] ^ 1]) + data[k + 1 :])
        try:
            assert _told(read_state(path)) == _told({"x": torch.arange(3.0), "y": 5})  # white space of the header
        except ConfigError as error:
            assert "is damaged or missing" in str(error)
    path.write_bytes(data[:-1])
    with pytest.raises(ConfigError, match="is damaged or missing"):
        read_state(path)


def test_nothing_else_is_written_or_made(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot hold a PosixPath"):
        write_state(tmp_path / "a", {"path": tmp_path})
    write_state(tmp_path / "a", _Point(1, 2), KINDS)
    with pytest.raises(ConfigError, match="KeyError: '_Point'"):
        read_state(tmp_path / "a")


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_state(tmp_path / "a", 1)
    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        write_state(tmp_path / "a", 2)
    assert read_state(tmp_path / "a") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
