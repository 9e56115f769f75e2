"""Recordings: every row that counts, written as it comes, readable after a crash."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from agents.algorithms.reinforce_config import ReinforceConfig
from agents.reinforce.agent import Reinforce
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.evaluate import evaluate
from l2o_env.results import record
from l2o_env.results.record import (
    LAYER_COLUMNS,
    STEP_COLUMNS,
    StepRecorder,
    parts_folder,
    read_recording,
    recording,
    select_rows,
)
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.results.recorded import recorded

LAYERS = {"pair": ("stem", "head")}


def _info(n: int = 3, counts: tuple[bool, ...] = (True, True, True)) -> dict[str, Any]:
    """An info in which every number tells its column, row and layer."""
    info: dict[str, Any] = {"seed": np.arange(100, 100 + n), "updates": np.full(n, 15), "diverged": np.zeros(n, bool)}
    info["sampled"] = np.arange(n) == 1
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
    assert row["alignment"] == 10 * len(LAYER_COLUMNS) + 1.5
    assert frame["sampled"].tolist() == [False] * 2 + [True] * 2 + [False] * 6
    assert row["val_accuracy"] == STEP_COLUMNS.index("val_accuracy") + 0.1


def test_rows_are_written_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "PART_ROWS", 12)
    monkeypatch.setattr(record, "ROW_GROUP", 18)
    path, seen = tmp_path / "a.parquet", []
    with recording(path, LAYERS) as recorder:
        for step in range(1, 6):
            _record(recorder, step)
            seen.append(len(list(parts_folder(path).glob("*.parquet"))))
        _record(recorder, 0)  # the next population begins
        assert len(read_recording(path)) == 30
    assert seen == [0, 1, 1, 2, 2]
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [24, 6]
    assert read_recording(path)["step"].tolist() == [step for step in range(1, 6) for _ in range(6)]
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("elsewhere")])
def test_an_interruption_leaves_what_was_recorded(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.parquet"
    with pytest.raises(type(error)), recording(path, LAYERS) as recorder:
        _record(recorder, 1)
        raise error
    assert len(pd.read_parquet(path)) == 6
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


KILLED = """
import os, signal, sys
from l2o_env.results import record
from tests.results.test_record import LAYERS, _record
record.PART_ROWS = 12
with record.recording(sys.argv[1], LAYERS) as recorder:
    for step in range(1, 8):
        _record(recorder, step)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_recorded_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=root, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    frame = read_recording(path)
    assert frame["step"].unique().tolist() == [1, 2, 3, 4, 5, 6]  # of the seventh nothing had been written
    assert len(frame) == 36
    with recording(path, LAYERS) as recorder:  # a new recording of that name takes the place of the old one
        _record(recorder, 1)
    assert len(read_recording(path)) == 6
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


def test_a_full_disk_leaves_what_was_written_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    monkeypatch.setattr(record, "PART_ROWS", 6)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"), recording(path, LAYERS) as recorder:
        _record(recorder, 1)
        monkeypatch.setattr(pq, "write_table", full)
        _record(recorder, 2)
    assert not path.exists()
    assert read_recording(path)["step"].unique().tolist() == [1]
    with pytest.raises(OSError, match="No space left"), recording(tmp_path / "b.parquet", LAYERS) as recorder:
        _record(recorder, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.parts"]


def test_a_recording_is_read_from_the_folder_of_its_run(tmp_path: Path) -> None:
    with recording(tmp_path / "actions.parquet", LAYERS) as recorder:
        _record(recorder, 1)
    pd.testing.assert_frame_equal(read_recording(tmp_path), read_recording(tmp_path / "actions.parquet"))


def test_recordings_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no recording .*a\.parquet"):
        read_recording(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ConfigError, match="is damaged"):
        read_recording(tmp_path / "a.parquet")
    pd.DataFrame({"lr": [0.1]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="has no column 'policy'; is it of another version"):
        read_recording(tmp_path / "a.parquet")


def test_sampled_rows_are_left_out_where_there_are_others() -> None:
    rows = recorded()
    both = pd.concat([rows, rows.assign(sampled=True)])
    assert len(select_rows(both, "flat")) == len(select_rows(rows.assign(sampled=True), "flat")) == len(rows) // 2
    assert select_rows(both)["policy"].unique().tolist() == ["careful"]
    for kwargs, told in (({"policy": "flatt"}, "Did you mean 'flat'"), ({"pairs": ["c"]}, "Unknown pair")):
        with pytest.raises(ConfigError, match=told):
            select_rows(rows, **kwargs)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="recording is empty"):
        select_rows(rows.iloc[:0])


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


def test_it_records_what_a_policy_says_of_its_actions(tmp_path: Path, tiny: str) -> None:
    config = EnvConfig(pairs=(tiny,), budget=6, window=2, batch_size=8)
    agent = Reinforce(config, config=ReinforceConfig(noise_std=0.5, noise_correlation=0.6))
    layers = {tiny: ("stem", "layer1", "head")}
    for deterministic in (True, False):
        with recording(tmp_path / "a.parquet", layers) as recorder:
            evaluate({"p": agent}, [tiny], 2, config, deterministic=deterministic, on_step=recorder)
        frame = read_recording(tmp_path / "a.parquet")
        assert (frame["sampled"] != deterministic).all()
        rates = np.exp(np.interp(frame["action"], [-1, 1], np.log([config.lr_min, config.lr_max])))
        np.testing.assert_allclose(frame["lr"], rates, rtol=1e-5)
        # The noise of the first step is fresh; the later ones' is drawn around 0.6 of the last, with less spread.
        std = np.where(frame["step"] == 1, 0.5, 0.5 * 0.8)
        np.testing.assert_allclose(frame["entropy"], 0.5 * np.log(2 * np.pi * np.e * std**2), rtol=1e-5)
        if deterministic:  # at the mode
            np.testing.assert_allclose(frame["log_prob"], -0.5 * np.log(2 * np.pi * std**2), rtol=1e-5)
        else:  # on average a log-probability is the entropy, negated
            assert abs((frame["log_prob"] + frame["entropy"]).mean()) < 4 * np.sqrt(0.5 / len(frame))
        np.testing.assert_allclose(
            frame["reward"], frame[["reward_ce", "reward_kl", "reward_accuracy", "reward_penalty"]].sum(axis=1)
        )


def test_log_probabilities_of_layers_sum_to_those_of_training(tiny: str) -> None:
    for action in ("log", "discrete"):
        config = EnvConfig(pairs=(tiny,), budget=6, window=2, batch_size=8, action=action)
        agent, venv = Reinforce(config), Syn2RealVectorEnv(3, **asdict(config))
        observations, _ = venv.reset(seed=0)
        state, described, actions, seen = None, [], [], []
        for _ in range(3):
            chosen, after = agent.act(observations, state, deterministic=False)
            described.append(agent.describe(observations, state, chosen))
            actions.append(chosen)
            seen.append(observations)
            observations, state = venv.step(chosen)[0], after
        states, outputs = None, []
        for observed in seen:
            outputs.append(agent._outputs(observed, states)[0])
            states = agent.act(observed, states, deterministic=True)[1]
        log_prob, entropy, _ = agent.log_prob(torch.as_tensor(np.stack(actions)), torch.cat(outputs), None)
        for t, found in enumerate(described):
            np.testing.assert_allclose(found["log_prob"].sum(-1), log_prob[t].detach(), rtol=1e-4)
            np.testing.assert_allclose(found["entropy"].sum(-1), entropy[t].detach(), rtol=1e-4)


def test_opponents_have_rates_and_no_actions(tmp_path: Path, tiny: str) -> None:
    config = EnvConfig(pairs=(tiny,), budget=4, window=2, batch_size=8)
    with recording(tmp_path / "a.parquet", {tiny: ("stem", "layer1", "head")}) as recorder:
        evaluate({"ramp": _Ramp()}, [tiny], 2, config, on_step=recorder)  # type: ignore[dict-item]
    frame = read_recording(tmp_path / "a.parquet")
    assert frame[["action", "log_prob", "entropy"]].isna().all(axis=None)
    assert (frame["lr"] > 0).all()
