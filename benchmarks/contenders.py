"""What is measured: each contender runs the same episodes of the same pair, by ``reset`` and ``step``."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

from benchmarks.dacbench_env import DacbenchSGD
from benchmarks.raw_loop import RawLoop, Recipe
from l2o_env import pairs
from l2o_env.errors import ConfigError

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""``cpu`` is the time of this process on the processor: on a machine that others use too, it is what the wall clock
would show on a quiet one, for contenders of one thread. It says nothing of threads and worker processes."""
KINDS = ("raw", "single", "population", "sync", "async", "dacbench-epoch", "dacbench-batch")
_FORM = re.compile(r"(?P<kind>[a-z-]+?)(-(?P<n>\d+))?(/(?P<window>\d+))?(x(?P<workers>\d+))?(@(?P<threads>\d+))?")


@dataclass(frozen=True)
class Spec:
    """A contender by name: ``kind[-n][/window][xworkers][@threads]``.

    ``population-16x2@1`` is a population of 16 in two worker processes of one thread each, ``raw/1@1`` a raw loop that
    validates after each update.
    """

    kind: str
    n: int = 1
    window: int | None = None
    workers: int = 1
    threads: int = 1

    @classmethod
    def parse(cls, name: str) -> Spec:
        """Reads a name; raises ConfigError if it is none."""
        found = _FORM.fullmatch(name)
        if found is None or found["kind"] not in KINDS:
            raise ConfigError(
                f"{name!r} is no contender; expected kind[-n][/window][xworkers][@threads] with one of the kinds "
                f"{', '.join(KINDS)}."
            )
        numbers = {key: int(found[key]) for key in ("n", "window", "workers", "threads") if found[key]}
        if min(numbers.values(), default=1) < 1:
            raise ConfigError(f"The contender {name!r} has a number below 1.")
        return cls(found["kind"], **numbers)

    def __str__(self) -> str:
        n = f"-{self.n}" if self.kind in ("population", "sync", "async") else ""
        window = "" if self.window is None else f"/{self.window}"
        return f"{self.kind}{n}{window}{f'x{self.workers}' if self.workers > 1 else ''}@{self.threads}"


class Contender(Protocol):
    """Runs episodes of one or several optimizees."""

    n_steps: int
    """Steps of an episode."""
    updates_per_step: float
    """Optimizer updates of a step, over all optimizees."""

    def reset(self) -> None:
        """Starts an episode of each optimizee."""

    def step(self) -> None:
        """Makes one step of each."""


class _Raw:
    def __init__(self, pair: str, recipe: Recipe, device: str) -> None:
        self.loop = RawLoop(pairs.make(pair), recipe, device)
        self.n_steps, self.updates_per_step = -(-recipe.budget // recipe.window), float(recipe.window)
        self._rates: list[float] = []

    def reset(self) -> None:
        self.loop.start()
        self._rates = [0.01] * len(self.loop.optimizer.param_groups)

    def step(self) -> None:
        self.loop.window(self._rates)


class _Env:
    """One environment or a vector of them, with the time that is spent in ``Population.run``."""

    def __init__(self, env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any], n: int, recipe: Recipe) -> None:
        self.env = env
        self.n_steps, self.updates_per_step = -(-recipe.budget // recipe.window), float(n * recipe.window)
        assert env.action_space.shape is not None
        self._action = np.full(env.action_space.shape, 0.15, np.float32)
        self.inner_seconds = dict.fromkeys(CLOCKS, 0.0)
        if hasattr(env.unwrapped, "episodes"):
            population = env.unwrapped.episodes.population
            population.run = partial(self._timed, population.run)

    def _timed(self, run: Callable[..., Any], *args: Any) -> Any:
        start = {clock: read() for clock, read in CLOCKS.items()}
        result = run(*args)
        for clock, read in CLOCKS.items():
            self.inner_seconds[clock] += read() - start[clock]
        return result

    def reset(self) -> None:
        self.env.reset(seed=0)

    def step(self) -> None:
        self.env.step(self._action)

    def close(self) -> None:
        self.env.close()


def _single(config: dict[str, Any], register: Callable[[], object] | None = None) -> gymnasium.Env[Any, Any]:
    if register is not None:
        register()
    torch.set_num_threads(1)
    return gymnasium.make("l2o_env/Syn2Real-v0", **config)


@dataclass(frozen=True)
class Setting:
    """What all contenders have in common.

    Attributes:
        pair: Name of the pair.
        recipe: The recipe.
        device: Torch device.
        register: Called in worker processes of Gymnasium first, for pairs that are not built in; importable.
    """

    pair: str = "glyphs-digits"
    recipe: Recipe = field(default_factory=Recipe)
    device: str = "cpu"
    register: Callable[[], object] | None = None

    def build(self, spec: Spec) -> Contender:
        """Builds a contender."""
        recipe = self.recipe if spec.window is None else self.recipe._replace(window=spec.window)
        if spec.kind == "raw":
            return _Raw(self.pair, recipe, self.device)
        if spec.kind.startswith("dacbench"):
            pair, epoch_mode = pairs.make(self.pair), spec.kind == "dacbench-epoch"
            return DacbenchSGD(pair, recipe.budget, recipe.batch_size, epoch_mode=epoch_mode)
        # The raw loop validates once a window, as this reward asks for; the default one judges other images beside.
        config = {**recipe._asdict(), "pairs": self.pair, "device": self.device, "reward": "proxy_guided"}
        if spec.kind == "single":
            return _Env(gymnasium.make("l2o_env/Syn2Real-v0", **config), 1, recipe)
        if spec.kind == "population":
            if spec.workers > 1:
                config["workers"] = spec.workers
            mode = "vector_entry_point"
            env = gymnasium.make_vec("l2o_env/Syn2Real-v0", num_envs=spec.n, vectorization_mode=mode, **config)
            return _Env(env, spec.n, recipe)
        factories = [partial(_single, config, self.register)] * spec.n
        if spec.kind == "sync":
            return _Env(SyncVectorEnv(factories), spec.n, recipe)
        return _Env(AsyncVectorEnv(factories, context="spawn"), spec.n, recipe)


def close(contender: Contender) -> None:
    """Frees what a contender holds beside memory."""
    if hasattr(contender, "close"):
        contender.close()
