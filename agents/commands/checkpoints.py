"""Checkpoints of a training, and the choice of the best of them by what training may see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from l2o_env.config import EnvConfig
from l2o_env.evaluation.rollout import episode_seeds, run_episodes
from l2o_env.results.run_folder import BEST_POLICY, CHECKPOINTS, RunFolder
from l2o_env.reward import judged_by
from l2o_env.vector_env import Syn2RealVectorEnv

from ..base import Learner


class Checkpoints:
    """Saves the policy at even distances of training, and keeps the best by V on the training pairs.

    A checkpoint runs without exploration on episodes that are the same for all checkpoints; they draw their pairs from
    those of training, and V is that of the held-out synthetic images. Neither the target nor a pair that is held out
    for evaluation is read.

    Args:
        folder: The run folder: ``checkpoints/<episodes>`` and ``policy-best`` are written there.
        env: Settings of the environment to train in.
        episodes: Episodes of the training.
        n: Checkpoints of the training; 0 makes none.
        n_seeds: Episodes that a checkpoint is judged by.
        seed: Seed of these episodes.
    """

    def __init__(self, folder: RunFolder, env: EnvConfig, episodes: int, n: int, n_seeds: int, seed: int) -> None:
        self._folder, self._seeds = folder, episode_seeds(seed, "selection", n_seeds)
        self._due = [-(-episodes * (k + 1) // n) for k in range(n)]
        # V is read from info, whatever is rewarded.
        self._settings = replace(env, common_random_numbers=False, feature_dropout=0.0, reward=judged_by(env))
        self._venv: Syn2RealVectorEnv | None = None
        self._updates_before = 0  # those of a process that was cut off
        self.judged: list[dict[str, Any]] = []
        """Of each checkpoint: ``episodes``, ``value`` (mean V at the end), ``diverged``."""

    @property
    def best(self) -> dict[str, Any] | None:
        """The checkpoint of the highest V, the first of equals; None if there is none."""
        return max(self.judged, key=lambda entry: entry["value"]) if self.judged else None

    @property
    def updates(self) -> int:
        """Optimizer updates that judging has taken so far."""
        return self._updates_before + (0 if self._venv is None else self._venv.episodes.updates_made)

    def get_state(self) -> dict[str, Any]:
        """What was judged, and what is due."""
        return {"due": list(self._due), "judged": list(self.judged), "updates": self.updates}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes up a state that :meth:`get_state` returned, before the first checkpoint here."""
        self._due, self.judged = list(state["due"]), list(state["judged"])
        self._updates_before = state["updates"]

    def __call__(self, agent: Learner, *, last: bool = False) -> None:
        """Makes a checkpoint, if one is due.

        Args:
            agent: As it is now.
            last: Whether training is over, so that the policy is the final one.
        """
        # The last one waits for what an algorithm does to its policy in the end.
        if not self._due or (len(self._due) == 1 and not last) or agent.episodes < self._due[0]:
            return
        while len(self._due) > (0 if last else 1) and agent.episodes >= self._due[0]:
            self._due.pop(0)
        self._venv = self._venv or Syn2RealVectorEnv(len(self._seeds), **asdict(self._settings))
        outcome = run_episodes(self._venv, agent, seeds=self._seeds)
        entry = {
            "episodes": agent.episodes,
            "value": float(np.mean(outcome.v_end)),
            "diverged": int(outcome.diverged.sum()),
        }
        self.judged.append(entry)
        best = [BEST_POLICY] if self.best is entry else []
        for name in (f"{CHECKPOINTS}/{agent.episodes:06d}", *best):
            with self._folder.guard(name) as path:
                agent.save(path)
