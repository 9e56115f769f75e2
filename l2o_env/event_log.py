"""How training went and what came of it, as TensorBoard events."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

TENSORBOARD_NAMES = {
    "return_mean": "rollout/ep_rew_mean",
    "return_std": "rollout/ep_rew_std",
    "value_mean": "rollout/ep_value_mean",
    "diverged": "rollout/diverged",
    "policy_loss": "train/policy_gradient_loss",
    "loss": "train/loss",
    "entropy": "train/entropy",
    "grad_norm": "train/grad_norm",
    "std": "train/std",
    "episode": "time/episodes",
    "seconds": "time/time_elapsed",
}
"""What a training record's keys are called in TensorBoard: Stable-Baselines3's names where it has one."""


class TensorBoardLog:
    """Writes training records as TensorBoard events, over training episodes.

    Args:
        folder: Where the events go.

    Raises:
        OSError: If the folder cannot be written to.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def __call__(self, record: Mapping[str, Any]) -> None:
        """Logs a record at ``record["episode"]``.

        Args:
            record: Numbers by name. Names are changed as ``TENSORBOARD_NAMES`` says, and ones with a slash
                (``lr/<layer>``) stay; any other goes under ``train/``. With a ``pair`` the return is logged
                under ``pair/<name>`` too. What is no number is left out.
        """
        episode = int(record["episode"])
        for key, value in record.items():
            if isinstance(value, int | float | np.number) and not isinstance(value, bool):
                name = TENSORBOARD_NAMES.get(key, key if "/" in key else f"train/{key}")
                self._writer.add_scalar(name, float(value), episode)
        if "pair" in record and "return_mean" in record:
            self._writer.add_scalar(f"pair/{record['pair']}", float(record["return_mean"]), episode)

    def close(self) -> None:
        """Writes what is held back."""
        self._writer.close()


def read_scalars(folder: str | os.PathLike[str]) -> dict[str, list[tuple[int, float]]]:
    """Scalars of a folder of TensorBoard events, ``(step, value)`` in order, by tag; empty if there are none.

    Events of a run that is going on or was killed can be read too.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not os.path.isdir(folder):
        return {}
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
