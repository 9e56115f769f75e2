"""The workers of a process, which all its populations share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from l2o_env.pairs.pair import Pair


class AnyWorker(Protocol):
    """A worker, seen from the process that started it: a process of this machine, or an actor of Ray's.

    Attributes:
        number: Its number in the pool.
        populations: Populations that it runs.
    """

    number: int
    populations: int

    @property
    def alive(self) -> bool:
        """Whether it can be asked for anything."""

    def ask(self, population: int, method: str, *args: Any) -> int:
        """Sends an order; returns its ticket for :meth:`answer`."""

    def answer(self, ticket: int) -> Any:
        """Waits for the answer to an order; raises ``WorkerError`` if the worker is lost."""

    def send_pairs(self, pairs: Sequence[Pair]) -> list[int]:
        """Makes pairs known to the worker; returns the keys that it knows them by."""

    def drop(self, population: int) -> None:
        """Lets it free a population, without waiting; may be called at any time, by the garbage collector too."""

    def disconnect(self) -> None:
        """Tells it that there is nothing more to do."""

    def stop(self) -> None:
        """Ends it, whatever state it is in."""


W = TypeVar("W", bound=AnyWorker)


class WorkerPool(Generic[W]):
    """Workers by number, started when they are first needed, and started anew where one has ended.

    Args:
        start: Starts the worker of a number.
    """

    def __init__(self, start: Callable[[int], W]) -> None:
        self._start = start
        self._workers: list[W] = []
        self._owner = os.getpid()

    def get(self, n: int) -> list[W]:
        """The first `n` workers; those that are missing, or have ended, are started."""
        if self._owner != os.getpid():  # a fork: the workers are those of the other process
            self._workers.clear()
            self._owner = os.getpid()
        for k, worker in enumerate(self._workers):
            if not worker.alive:
                worker.stop()
                self._workers[k] = self._start(k)
        while len(self._workers) < n:
            self._workers.append(self._start(len(self._workers)))
        return self._workers[:n]

    def stop(self) -> None:
        """Ends all workers; populations that they run are lost."""
        for worker in self._workers:
            worker.disconnect()
        while self._workers:
            self._workers.pop().stop()

    def stop_unused(self) -> None:
        """Ends the workers if none of them has a population."""
        if not any(worker.populations for worker in self._workers):
            self.stop()
