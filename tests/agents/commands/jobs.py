"""Jobs, folders and tables that several tests start from."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

import train_policy
from agents.algorithms.reinforce_config import ReinforceConfig
from agents.commands.paper_rows import BY_KEY
from agents.reinforce.agent import Reinforce
from l2o_env.config import EnvConfig
from l2o_env.evaluation.evaluate import COLUMNS

OPPONENTS = ["tuned-adamw-cosine", "adamw-cosine", "asg-sgd", "frozen-backbone"]
"""Those of a run of :func:`train`."""
CONFIG = EnvConfig(pairs=("tiny",), budget=4, window=2, batch_size=8, device="cpu")

FEW: dict[str, Any] = {
    "networks": ("narrow", "deep"), "budget": (4, 6), "batch_size": (2, 4), "n_train_per_class": (1, 2),
    "n_windows": 2,
}  # fmt: skip
"""Ranges of tasks that are made in no time."""


def train(out: Path, *more: str) -> int:
    """Runs ``l2o train`` on the tiny pair, with less of everything; returns the exit status."""
    settings = "--quick --budget 4 --window 2 --episodes 12 --num-envs 4 --eval-seeds 3 --device cpu"
    names = "--pairs tiny --eval-pairs tiny tiny-4"
    return train_policy.main(["train", "--out", str(out), *settings.split(), *names.split(), *more])


def run_folder(folder: Path, config: EnvConfig = CONFIG, seed: int = 0, best: bool = False, **settings: Any) -> Path:
    """A run folder as training leaves it."""
    folder.mkdir(parents=True)
    for name, k in (("policy", seed), ("policy-best", seed + 1)):
        if name == "policy" or best:
            Reinforce(config, config=ReinforceConfig(**settings), n_layers=3, seed=k).save(folder / name)
    (folder / "config.json").write_text(json.dumps({"trained_on": config.pairs, "environment": asdict(config)}))
    return folder


def rows_frame(**accuracies: list[float]) -> pd.DataFrame:
    """A frame whose rows have these real accuracies, seed by seed, and half of them as proxy accuracies."""
    lines = []
    for key, values in accuracies.items():
        for seed, value in enumerate(values):
            line = dict.fromkeys(COLUMNS, 0.0) | {"policy": BY_KEY[key.strip("_")].label, "pair": "tiny", "seed": seed}
            lines.append({**line, "real_accuracy": value, "proxy_accuracy": value / 2, "diverged": False})
    return pd.DataFrame(lines)
