"""How a policy of ours learns on a population: batches of episodes, with an update every so many steps."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.vector_env import Syn2RealVectorEnv

from ..algorithms.reinforce_config import ReinforceConfig
from ..base import Hooks, Learner, Record


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


@dataclass
class _Progress:
    """How far a training is.

    Attributes:
        averaged: Running means of the parameters, over the last batches.
        n_averaged: How many they are over.
        batch: Batches made.
        order: Pairs to come, until they are drawn in a new order.
        seconds: Time taken.
    """

    averaged: list[Tensor]
    n_averaged: int = 0
    batch: int = 0
    order: list[str] = field(default_factory=list)
    seconds: float = 0.0


class PopulationLearner(Learner):
    """Learns from the episodes of a population; optimizees that diverge do not count for the rest of the episode.

    With ``common_random_numbers=True`` in the population, a baseline takes away the luck of the draw.

    Attributes:
        config: Settings.
        policy: The network.
        generator: Where the order of pairs comes from.
        optimizer: Of the policy. A group's ``scale`` (default 1) is its share of the learning rate.
        timesteps: Steps of single environments so far.
    """

    config: ReinforceConfig
    policy: Any  # a module of the agent's own class
    generator: torch.Generator
    optimizer: torch.optim.Optimizer
    timesteps: int

    @abstractmethod
    def update(self, segment: Segment) -> dict[str, float]:
        """One step of the policy's optimizer on what happened; returns what is logged of it, by name."""

    def _see(self, observations: NDArray[np.float32]) -> None:
        """Told all observations ``(time, N, ...)`` of a batch after its last update."""

    def _train(self, venv: Syn2RealVectorEnv, episodes: int, pairs: Sequence[str], hooks: Hooks) -> None:
        batches = -(-episodes // venv.num_envs)
        progress = _Progress(averaged=[torch.zeros_like(p) for p in self._parameters()])
        if hooks.resume is not None:
            self.set_state(hooks.resume["agent"])
            progress = _Progress(**hooks.resume["progress"])
            venv.set_streams(hooks.resume["streams"])
        started = time.perf_counter() - progress.seconds
        while progress.batch < batches:
            for group in self.optimizer.param_groups:
                share = 1 - 0.9 * progress.batch / batches
                group["lr"] = self.config.learning_rate * group.get("scale", 1.0) * share
            if pairs and not progress.order:
                progress.order = [pairs[i] for i in torch.randperm(len(pairs), generator=self.generator)]
            record = self._batch(venv, progress.order.pop(0) if pairs else None)
            self.episodes += venv.num_envs
            if progress.batch >= (1 - self.config.averaged_share) * batches:  # a running mean of the last weights
                progress.n_averaged += 1
                for mean, p in zip(progress.averaged, self._parameters(), strict=True):
                    mean += (p.detach() - mean) / progress.n_averaged
            progress.batch += 1
            progress.seconds = time.perf_counter() - started
            hooks.callback({**record, "episode": self.episodes, "seconds": progress.seconds})
            # The next batch resets every optimizee: of the population nothing but its streams is needed.
            hooks.on_boundary(
                lambda: {"agent": self.get_state(), "progress": dict(vars(progress)), "streams": venv.get_streams()}
            )
        if progress.n_averaged:
            for mean, p in zip(progress.averaged, self._parameters(), strict=True):
                p.data.copy_(mean)

    def get_state(self) -> dict[str, Any]:
        """See :meth:`agents.base.Learner.get_state`."""
        return {
            "policy": {name: tensor.clone() for name, tensor in self.policy.state_dict().items()},
            "parameters": [p.detach().clone() for p in self._parameters()],
            "optimizer": deepcopy(self.optimizer.state_dict()),
            "generator": self.generator.get_state(),
            "episodes": self.episodes,
            "timesteps": self.timesteps,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See :meth:`agents.base.Learner.set_state`."""
        self.policy.load_state_dict(state["policy"])
        for p, kept in zip(self._parameters(), state["parameters"], strict=True):
            p.data.copy_(kept)
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.episodes, self.timesteps = state["episodes"], state["timesteps"]

    def _batch(self, venv: Syn2RealVectorEnv, pair: str | None) -> Record:
        """One episode of each optimizee, with an update every ``n_steps`` steps; returns a record of it."""
        observations, info = venv.reset(options={"pair": pair})
        pairs, value, state = venv.pair_names, info["value"], None
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
