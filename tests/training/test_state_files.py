"""States come back from files as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from l2o_env import ConfigError
from l2o_env.inner.window import Measurements, Start
from l2o_env.training.state_files import read_state, write_state


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    measurements = Measurements(*(np.full(1, float(k)) for k in range(8)))
    state = {
        "starts": [Start(0, 2**61, 5), None],
        "previous": measurements,
        1: ("text", 2**100, True, 1.5),
        "tensors": {"half": torch.ones(2, dtype=torch.bfloat16), "none": torch.zeros(0, 3)},
        "array": np.arange(6, dtype=np.int64).reshape(2, 3),
        "number": np.float64(0.1),
    }
    write_state(state, tmp_path / "state")
    found = read_state(tmp_path / "state")
    assert found["starts"] == state["starts"]
    assert isinstance(found["starts"][0], Start)
    assert [float(x[0]) for x in vars(found["previous"]).values()] == list(range(8))
    assert found[1] == state[1]
    assert found["tensors"]["half"].dtype == torch.bfloat16
    assert found["tensors"]["none"].shape == (0, 3)
    np.testing.assert_array_equal(found["array"], np.arange(6).reshape(2, 3))
    assert found["number"] == 0.1


def test_what_no_file_can_hold_and_what_is_no_state(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="holds a object"):
        write_state({"it": object()}, tmp_path / "state")
    (tmp_path / "other").write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_state(tmp_path / "other")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_state(tmp_path / "nowhere")
