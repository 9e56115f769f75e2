from __future__ import annotations

from pathlib import Path

import pytest
import torch

from l2o_env.adaptation import read_checkpoint, write_checkpoint
from l2o_env.errors import ConfigError
from tests.adaptation.made import adaptation


def test_it_goes_on_with_adams_state_too(tmp_path: Path) -> None:
    run = adaptation("gta", rounds=3)
    run.run_round()
    write_checkpoint(tmp_path / "file.safetensors", run, [{"round": 1, "x": 0.5}])
    other = adaptation("gta", rounds=3)
    assert read_checkpoint(tmp_path / "file.safetensors", other) == [{"round": 1, "x": 0.5}]
    assert other.round == 1
    run.run_round()
    other.run_round()
    expected, found = run.state(), other.state()
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[key]) for key, value in expected.items())


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    with pytest.raises(ConfigError, match="no round was finished"):
        read_checkpoint(path, adaptation("cbst"))
    path.write_bytes(b"no tensors")
    with pytest.raises(ConfigError, match="is damaged"):
        read_checkpoint(path, adaptation("cbst"))
    write_checkpoint(path, adaptation("cbst"), [])
    with pytest.raises(ConfigError, match="that of another network or method"):
        read_checkpoint(path, adaptation("dann"))
