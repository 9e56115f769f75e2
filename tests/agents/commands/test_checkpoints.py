"""Checkpoints of a training, and the choice of the best."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import agents
from agents.commands.checkpoints import Checkpoints
from l2o_env.config import EnvConfig
from l2o_env.evaluation.rollout import episode_seeds, run_episodes
from l2o_env.results.run_folder import RunFolder
from l2o_env.vector_env import Syn2RealVectorEnv


def test_the_best_checkpoint_is_chosen_on_the_training_pairs(finished_run: Path) -> None:
    selection = json.loads((finished_run / "results.json").read_text())["selection"]
    assert [entry["episodes"] for entry in selection["checkpoints"]] == [8, 12]
    assert sorted(path.name for path in (finished_run / "checkpoints").iterdir()) == ["000008", "000012"]
    venv = Syn2RealVectorEnv(3, pairs="tiny", budget=4, window=2)
    for entry in selection["checkpoints"]:
        agent = agents.load(finished_run / "checkpoints" / f"{entry['episodes']:06d}")
        found = run_episodes(venv, agent, seeds=episode_seeds(0, "selection", 3))
        assert entry["value"] == pytest.approx(found.v_end.mean())
    best = max(selection["checkpoints"], key=lambda entry: entry["value"])
    assert selection["best"] == best
    chosen = (finished_run / "checkpoints" / f"{best['episodes']:06d}" / "policy.safetensors").read_bytes()
    assert (finished_run / "policy-best" / "policy.safetensors").read_bytes() == chosen
    assert agents.trained_on(finished_run) == ("tiny",)


class _Learner:
    """Trained for so many episodes, with a rate that is set from outside."""

    output: Literal["rates"] = "rates"

    def __init__(self) -> None:
        self.episodes, self.rate, self.saved = 0, 0.05, list[str]()

    def act(self, observations: np.ndarray, state: None, deterministic: bool) -> tuple[np.ndarray, None]:
        return np.full((len(observations), 3), self.rate), None

    def save(self, folder: Path) -> None:
        self.saved.append("/".join(folder.parts[-2:]) if folder.parent.name == "checkpoints" else folder.name)


def test_checkpoints_are_made_when_they_are_due_and_the_last_at_the_end(tmp_path: Path, tiny: str) -> None:
    config = EnvConfig(pairs=(tiny,), budget=6, window=3, batch_size=8, device="cpu", reward="val_accuracy")
    checkpoints, learner = Checkpoints(RunFolder(tmp_path), config, 100, 3, 2, seed=0), _Learner()
    assert checkpoints.best is None and checkpoints.updates == 0
    for episodes, rate in ((16, 0.05), (40, 0.05), (64, 1e-5), (80, 1e-6), (112, 1e-6)):  # due at 34, 67 and 100
        learner.episodes, learner.rate = episodes, rate
        checkpoints(learner)  # type: ignore[arg-type]
    assert learner.saved == ["checkpoints/000040", "policy-best", "checkpoints/000080"]
    checkpoints(learner, last=True)  # type: ignore[arg-type]
    checkpoints(learner, last=True)  # type: ignore[arg-type]
    assert learner.saved[3:] == ["checkpoints/000112"]
    assert [entry["episodes"] for entry in checkpoints.judged] == [40, 80, 112]
    assert checkpoints.best == checkpoints.judged[0]
    assert checkpoints.best["value"] < 0  # V, whatever is rewarded
    assert checkpoints.updates == 3 * 2 * 6
