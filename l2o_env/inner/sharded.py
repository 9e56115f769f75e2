"""A population in parts: in blocks that follow one another, or one part in each of several worker processes.

Optimizees have nothing to do with each other, so a population in parts goes the same way as a whole one.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.inner.metrics import Evaluation
from l2o_env.inner.population import Population
from l2o_env.inner.window import Measurements, Start, Window, WindowTime
from l2o_env.models.base import Optimizee
from l2o_env.pairs.pair import Pair


class Shard(Protocol):
    """A part of a population: ``submit`` asks it for something, ``result`` waits for that."""

    def submit(self, method: str, *args: Any) -> None:
        """Asks for a call of a method of ``Population``."""

    def result(self) -> Any:
        """What the call returned, or raises what it raised."""

    def forget(self) -> None:
        """Lets go of what it holds, without waiting."""

    def close(self) -> None:
        """Frees what it holds."""


class LocalShard:
    """A population of this process; it computes when its result is asked for."""

    def __init__(self, population: Population) -> None:
        self.population = population
        self._call: tuple[str, tuple[Any, ...]] | None = None

    def submit(self, method: str, *args: Any) -> None:
        """See ``Shard``."""
        self._call = method, args

    def result(self) -> Any:
        """See ``Shard``."""
        assert self._call is not None
        (method, args), self._call = self._call, None
        return getattr(self.population, method)(*args)

    def forget(self) -> None:
        """There is nothing to free."""

    def close(self) -> None:
        """There is nothing to free."""


class ShardedPopulation:
    """N optimizees in several shards; see ``Population`` for what its methods do.

    Args:
        pairs: The pairs that optimizees may be started on.
        config: Settings of the inner loop.
        sizes: Optimizees of each shard.
        shards: The shards.
    """

    def __init__(self, pairs: Sequence[Pair], config: EnvConfig, sizes: Sequence[int], shards: Sequence[Shard]) -> None:
        self.pairs, self.config, self.n = tuple(pairs), config, sum(sizes)
        self.layout = pairs[0].layout
        self.shards = list(shards)
        ends = np.cumsum(sizes)
        self._slices = [slice(int(end - size), int(end)) for end, size in zip(ends, sizes, strict=True)]
        self.starts: list[Start | None] = [None] * self.n
        self.done = np.zeros(self.n, np.int64)
        self._finalizer = weakref.finalize(self, _close, self.shards)

    @property
    def n_layers(self) -> int:
        """Number of layer groups."""
        return self.layout.n_layers

    def start(self, starts: dict[int, Start]) -> None:
        """See ``Population``."""
        parts = [
            {i - rows.start: starts[i] for i in range(rows.start, rows.stop) if i in starts} for rows in self._slices
        ]
        asked = [(shard, part) for shard, part in zip(self.shards, parts, strict=True) if part]
        for shard, part in asked:
            shard.submit("start", part)
        for shard, _ in asked:
            shard.result()
        for i, start in starts.items():
            self.starts[i] = start
            self.done[i] = 0

    def run(
        self,
        rates: NDArray[np.float64],
        n_updates: NDArray[np.int64],
        guidance_weights: NDArray[np.float64] | None = None,
    ) -> Window:
        """See ``Population``."""
        windows = self._call("run", rates, n_updates, guidance_weights)
        self.done += n_updates
        return Window(
            layers=_joined([window.layers for window in windows]),
            head=_joined([window.head for window in windows]),
            measurements=Measurements(**_joined([_as_dict(window.measurements) for window in windows])),
            diverged=np.concatenate([window.diverged for window in windows]),
        )

    def window_time(self) -> WindowTime:
        """See ``Population``: the sum over all shards, which may have run side by side."""
        return WindowTime(*(sum(column) for column in zip(*self._call_all("window_time"), strict=True)))

    def optimizee(self, i: int) -> Optimizee:
        """Divided optimizees cannot be taken out.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError("The optimizees of a divided population cannot be taken out; use fewer, and workers=1.")

    def evaluate(self, split: str) -> Evaluation:
        """See ``Population``; the results are on the host."""
        parts = self._call_all("evaluate", split)
        return type(parts[0])(*(torch.cat([x.cpu() for x in column]) for column in zip(*parts, strict=True)))

    def predictions(self, split: str) -> list[Tensor]:
        """See ``Population``."""
        return [predicted for part in self._call_all("predictions", split) for predicted in part]

    def class_accuracy(self, split: str) -> Tensor:
        """See ``Population``."""
        return torch.cat([shares.cpu() for shares in self._call_all("class_accuracy", split)])

    def get_state(self) -> dict[str, Any]:
        """See ``Population``: the state does not depend on the shards."""
        return _joined(self._call_all("get_state"))

    def set_state(self, state: dict[str, Any]) -> None:
        """See ``Population``."""
        self._call("set_state", state)
        self.starts, self.done = list(state["starts"]), state["done"].copy()

    def close(self) -> None:
        """Frees what the shards hold, worker processes included; the population cannot be used any more."""
        self._finalizer.detach()
        for shard in self.shards:
            shard.close()

    def _call(self, method: str, *args: Any) -> list[Any]:
        """Calls a method of each shard with its rows of the arguments."""
        for shard, rows in zip(self.shards, self._slices, strict=True):
            shard.submit(method, *(_rows(arg, rows, self.n) for arg in args))
        return [shard.result() for shard in self.shards]

    def _call_all(self, method: str, *args: Any) -> list[Any]:
        """Calls a method of each shard with the same arguments."""
        for shard in self.shards:
            shard.submit(method, *args)
        return [shard.result() for shard in self.shards]


def _close(shards: list[Shard]) -> None:
    for shard in shards:
        shard.forget()


def _as_dict(measurements: Measurements) -> dict[str, NDArray[np.float64]]:
    return {field.name: getattr(measurements, field.name) for field in fields(measurements)}


def _rows(value: Any, rows: slice, n: int) -> Any:
    """Some rows of a (nested) value; what has no row for each optimizee stays whole."""
    if isinstance(value, dict):
        return {key: _rows(part, rows, n) for key, part in value.items()}
    return value[rows] if isinstance(value, list | Tensor | np.ndarray) and len(value) == n else value


def _joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The rows of all parts, key by key."""
    return {key: _join([part[key] for part in parts]) for key in parts[0]}


def _join(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        return _joined(values)
    if isinstance(first, Tensor):
        return torch.cat(values)
    if isinstance(first, np.ndarray):
        return np.concatenate(values)
    return [row for value in values for row in value] if isinstance(first, list) else first
