"""How a policy of ours learns on a population: batches of episodes, with an update every so many steps."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.algorithms.reinforce_config import ReinforceConfig
from agents.base import Learner, Record
from l2o_env.vector_env import Syn2RealVectorEnv


@dataclass
class Segment:
    """What happened between two updates of the policy.

    Attributes:
        state: The policy's state before it; None at the start of an episode.
        observations: By step, ``(N, ...)``: what the policy acted on.
        actions: By step, ``(N, ...)``.
        alive: By step, ``(N,)``: whose episode was going on.
        rewards: By step, ``(N,)``; 0 where not alive.
    """

    state: Any
    observations: list[NDArray[np.float32]] = field(default_factory=list)
    actions: list[NDArray[Any]] = field(default_factory=list)
    alive: list[NDArray[np.bool_]] = field(default_factory=list)
    rewards: list[NDArray[np.float64]] = field(default_factory=list)


class PopulationLearner(Learner):
    """Learns from the episodes of a population; optimizees that diverge do not count for the rest of the episode.

    With ``common_random_numbers=True`` in the population, a baseline takes away the luck of the draw.

    Attributes:
        config: Settings.
        generator: Where the order of pairs comes from.
        optimizer: Of the policy. A group's ``scale`` (default 1) is its share of the learning rate.
        timesteps: Steps of single environments so far.
    """

    config: ReinforceConfig
    generator: torch.Generator
    optimizer: torch.optim.Optimizer
    timesteps: int

    @abstractmethod
    def update(self, segment: Segment) -> dict[str, float]:
        """One step of the policy's optimizer on what happened; returns what is logged of it, by name."""

    def _see(self, observations: NDArray[np.float32]) -> None:
        """Told all observations ``(time, N, ...)`` of a batch after its last update."""

    def _train(
        self, venv: Syn2RealVectorEnv, episodes: int, pairs: Sequence[str], callback: Callable[[Record], None]
    ) -> None:
        order: list[str] = []
        started = time.perf_counter()
        batches = -(-episodes // venv.num_envs)
        averaged = [torch.zeros_like(p) for p in self._parameters()]
        n_averaged = 0
        for batch in range(batches):
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.learning_rate * group.get("scale", 1.0) * (1 - 0.9 * batch / batches)
            if pairs and not order:
                order = [pairs[i] for i in torch.randperm(len(pairs), generator=self.generator)]
            record = self._batch(venv, order.pop(0) if pairs else None)
            self.episodes += venv.num_envs
            if batch >= (1 - self.config.averaged_share) * batches:  # a running mean of the last weights
                n_averaged += 1
                for mean, p in zip(averaged, self._parameters(), strict=True):
                    mean += (p.detach() - mean) / n_averaged
            callback({**record, "episode": self.episodes, "seconds": time.perf_counter() - started})
        if n_averaged:
            for mean, p in zip(averaged, self._parameters(), strict=True):
                p.data.copy_(mean)

    def _batch(self, venv: Syn2RealVectorEnv, pair: str | None) -> Record:
        """One episode of each optimizee, with an update every ``n_steps`` steps; returns a record of it."""
        observations, info = venv.reset(options={"pair": pair})
        pairs, value, state = info["pair"], info["value"], None
        seen: list[NDArray[np.float32]] = [observations]
        alive, total, losses = np.ones(venv.num_envs, np.bool_), np.zeros(venv.num_envs), []
        diverged = np.zeros(venv.num_envs, np.bool_)
        while alive.any():
            segment = Segment(state)
            # Without n_steps, which None is never equal to, the whole episode is one segment.
            while alive.any() and len(segment.rewards) != self.config.n_steps:
                actions, state = self.act(observations, state, deterministic=False)
                segment.observations.append(observations)
                segment.actions.append(actions)
                segment.alive.append(alive)
                self.timesteps += int(alive.sum())
                observations, rewards, terminated, _, info = venv.step(actions)
                segment.rewards.append(np.where(alive, rewards, 0.0))
                total += segment.rewards[-1]
                value = np.where(alive, info["value"], value)  # that of the end stays, when it is no longer alive
                diverged |= alive & info["diverged"]
                alive = alive & ~terminated
                seen.append(observations)
            losses.append(self.update(segment))
        self._see(np.stack(seen))
        return {
            "return_mean": float(total.mean()),
            "return_std": float(total.std()),
            "value_mean": float(value.mean()),
            "diverged": int(diverged.sum()),
            "time/total_timesteps": self.timesteps,
            "pair": "+".join(sorted(set(pairs))),
            **{key: float(np.mean([loss[key] for loss in losses])) for key in losses[0]},
        }

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]
