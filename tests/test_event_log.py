"""TensorBoard: records under SB3's names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from l2o_env.event_log import TensorBoardLog, read_scalars


def test_tensorboard_has_the_records_under_known_names(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log({"episode": 16, "return_mean": 1.5, "entropy": 0.25, "pair": "tiny", "lr/stem": 0.01, "extra": np.float32(3)})
    log({"episode": 32, "return_mean": 2.5, "entropy": 0.125, "pair": "tiny", "lr/stem": 0.02, "extra": 4})
    log.close()
    found = read_scalars(tmp_path)
    assert found["rollout/ep_rew_mean"] == found["pair/tiny"] == [(16, 1.5), (32, 2.5)]
    assert found["train/entropy"] == [(16, 0.25), (32, 0.125)]
    assert found["train/extra"] == [(16, 3.0), (32, 4.0)]
    assert [step for step, _ in found["lr/stem"]] == [16, 32]
    assert found["time/episodes"] == [(16, 16.0), (32, 32.0)]
