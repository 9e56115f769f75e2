"""Pairs and folders that several tests read: a finished run, a recorded one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from agents.opponents import Schedule
from agents.reinforce.agent import Reinforce
from l2o_env.config import EnvConfig
from l2o_env.evaluation.evaluate import evaluate
from l2o_env.results.event_log import TensorBoardLog
from l2o_env.results.record import recording
from tests.agents.commands.jobs import train


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, tinies: tuple[str, str]) -> Path:
    """The folder of a finished training run; not to be written to."""
    out = tmp_path_factory.mktemp("runs") / "a"
    assert train(out) == 0
    return out


@pytest.fixture(scope="session")
def recorded_run(tmp_path_factory: pytest.TempPathFactory, tinies: tuple[str, str]) -> Path:
    """A run folder with a recording, results, events and settings."""
    config = EnvConfig(pairs=("tiny",), budget=6, window=2, batch_size=8, device="cpu")
    folder = tmp_path_factory.mktemp("runs") / "a <run> & more"
    folder.mkdir()
    agents = {"reinforce": Reinforce(config), "uniform": Schedule("uniform", 0.02)}
    with recording(folder / "actions.parquet", dict.fromkeys(tinies, ("stem", "layer1", "head"))) as recorder:
        frame = evaluate(agents, tinies, 2, config, on_step=recorder)  # type: ignore[arg-type]
    frame.to_csv(folder / "results.csv", index=False)
    (folder / "config.json").write_text(
        json.dumps({"environment": asdict(config), "trained_on": ["tiny"], "note": "</pre><script>"})
    )
    log = TensorBoardLog(folder / "events")
    for episode in (16, 32, 48):
        log({"episode": episode, "return_mean": episode / 10, "entropy": 1 / episode, "pair": "tiny"})
    log.close()
    return folder
