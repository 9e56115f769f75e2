"""Recordings: every row that counts, in a file that is whole or not there; TensorBoard under SB3's names."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from l2o_env import record
from l2o_env.config import EnvConfig
from l2o_env.evaluate import evaluate
from l2o_env.record import LAYER_COLUMNS, STEP_COLUMNS, StepRecorder, TensorBoardLog, recording

LAYERS = {"pair": ("stem", "head")}


def _info(n: int = 3, counts: tuple[bool, ...] = (True, True, True)) -> dict[str, Any]:
    """An info in which every number tells its column, row and layer."""
    info: dict[str, Any] = {"seed": np.arange(100, 100 + n), "updates": np.full(n, 15), "diverged": np.zeros(n, bool)}
    for k, key in enumerate(STEP_COLUMNS):
        info[key] = k + np.arange(n) / 10
    for k, key in enumerate(LAYER_COLUMNS):
        info[key] = 10 * (k + 1) + np.arange(n)[:, None] + np.array([0.0, 0.5])
    return {**info, "_seed": np.array(counts)}


def _record(recorder: StepRecorder, step: int, **kwargs: Any) -> None:
    recorder("policy", "pair", step, np.zeros((3, 1), np.float32), _info(**kwargs))


def test_one_row_per_seed_and_layer_with_the_values_of_the_info(tmp_path: Path) -> None:
    path = tmp_path / "actions.parquet"
    with recording(path, LAYERS) as recorder:
        _record(recorder, 0)
        _record(recorder, 1)
        _record(recorder, 2, counts=(True, False, True))
        assert not path.exists()
    frame = pd.read_parquet(path)
    assert tuple(frame.columns) == record.COLUMNS
    assert len(frame) == 2 * 3 + 2 * 2  # the reset is left out, and so is the row that does not count
    assert frame["layer"].tolist() == ["stem", "head"] * 5
    assert frame["seed"].tolist() == [100, 100, 101, 101, 102, 102, 100, 100, 102, 102]
    row = frame.iloc[3]  # step 1, second seed, head
    assert (row["step"], row["updates"], row["lr"]) == (1, 15, 11.5)
    assert row["alignment"] == 10 * 7 + 1.5
    assert row["val_accuracy"] == len(STEP_COLUMNS) - 1 + 0.1


def test_rows_are_written_in_groups_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "ROW_GROUP", 6)
    with recording(tmp_path / "a.parquet", LAYERS) as recorder:
        for step in range(1, 5):
            _record(recorder, step)
    metadata = pq.ParquetFile(tmp_path / "a.parquet").metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [6, 6, 6, 6]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("elsewhere")])
def test_an_interruption_leaves_what_was_recorded(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.parquet"
    with pytest.raises(type(error)), recording(path, LAYERS) as recorder:
        _record(recorder, 1)
        raise error
    assert len(pd.read_parquet(path)) == 6
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="No space left"), recording(tmp_path / "a.parquet", LAYERS) as recorder:
        _record(recorder, 1)
    assert list(tmp_path.iterdir()) == []


class _Ramp:
    """Rates that tell step, row and layer."""

    output = "rates"

    def act(self, observations: np.ndarray, state: int | None, deterministic: bool) -> tuple[np.ndarray, int]:
        step = (state or 0) + 1
        rows = np.arange(len(observations))[:, None]
        return step * 1e-3 + rows * 1e-4 + np.arange(3) * 1e-5, step


def test_it_records_an_evaluation(tmp_path: Path, tiny: str) -> None:
    config = EnvConfig(pairs=(tiny,), budget=6, window=2)
    with recording(tmp_path / "a.parquet", {tiny: ("stem", "layer1", "head")}) as recorder:
        results = evaluate({"ramp": _Ramp()}, [tiny], 2, config, on_step=recorder)  # type: ignore[dict-item]
    frame = pd.read_parquet(tmp_path / "a.parquet")
    assert len(frame) == 3 * 2 * 3
    assert sorted(frame["updates"].unique()) == [2, 4, 6]
    head = frame[(frame["layer"] == "head") & (frame["seed"] == results["seed"][1])]
    np.testing.assert_allclose(head["lr"], [1.12e-3, 2.12e-3, 3.12e-3])
    last = frame[frame["step"] == 3].groupby("seed", sort=False)["value"].first()
    np.testing.assert_allclose(last.to_numpy(), results["v_end"].to_numpy())


def test_tensorboard_has_the_records_under_known_names(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = TensorBoardLog(tmp_path)
    log({"episode": 16, "return_mean": 1.5, "entropy": 0.25, "pair": "tiny", "lr/stem": 0.01, "extra": np.float32(3)})
    log({"episode": 32, "return_mean": 2.5, "entropy": 0.125, "pair": "tiny", "lr/stem": 0.02, "extra": 4})
    log.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert found["rollout/ep_rew_mean"] == found["pair/tiny"] == [(16, 1.5), (32, 2.5)]
    assert found["train/entropy"] == [(16, 0.25), (32, 0.125)]
    assert found["train/extra"] == [(16, 3.0), (32, 4.0)]
    assert [step for step, _ in found["lr/stem"]] == [16, 32]
    assert found["time/episodes"] == [(16, 16.0), (32, 32.0)]
