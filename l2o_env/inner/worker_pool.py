"""The workers of a process, which all its populations share."""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from l2o_env.pairs.pair import Pair


class AnyWorker(ABC):
    """A worker, seen from the process that started it: a process of this machine, or an actor of Ray's.

    Args:
        number: Its number in the pool, for messages.

    Attributes:
        populations: Populations that it runs.
    """

    def __init__(self, number: int) -> None:
        self.number, self.populations = number, 0
        self._sent: weakref.WeakKeyDictionary[Pair, int] = weakref.WeakKeyDictionary()
        self._n_sent = 0
        self._sending = threading.Lock()
        self._dropped: list[int] = []

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether it can be asked for anything."""

    @abstractmethod
    def ask(self, population: int, method: str, *args: Any) -> int:
        """Sends an order; returns its ticket for :meth:`answer`."""

    @abstractmethod
    def answer(self, ticket: int) -> Any:
        """Waits for the answer to an order; answers to earlier ones that nobody has fetched are dropped.

        Raises:
            WorkerError: If the worker is lost.
        """

    def send_pairs(self, pairs: Sequence[Pair]) -> list[int]:
        """Makes pairs known to the worker; returns the keys that it knows them by.

        Raises:
            ConfigError: If a pair cannot be sent.
        """
        for pair in pairs:
            if pair not in self._sent:
                self._send_pair(self._n_sent, pair)
                self._sent[pair] = self._n_sent
                self._n_sent += 1
        return [self._sent[pair] for pair in pairs]

    def drop(self, population: int) -> None:
        """Lets it free a population. May be called at any time, by the garbage collector in the middle of a message."""
        self._dropped.append(population)
        self._send_drops()

    @abstractmethod
    def disconnect(self) -> None:
        """Tells it that there is nothing more to do."""

    @abstractmethod
    def stop(self) -> None:
        """Ends it, whatever state it is in."""

    @property
    def _takes_drops(self) -> bool:
        """Whether it is to be told of populations that are dropped."""
        return True

    def _send_drops(self) -> None:
        # Where the lock is taken, whoever is sending does it afterwards.
        while self._takes_drops and self._dropped and self._sending.acquire(blocking=False):
            try:
                if self._dropped:
                    self._send_drop(self._dropped.pop())
            finally:
                self._sending.release()

    @abstractmethod
    def _send_pair(self, key: int, pair: Pair) -> None:
        """Sends a pair, to be known by a key."""

    @abstractmethod
    def _send_drop(self, population: int) -> None:
        """Sends that a population is to be freed; the lock is held."""


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

    @property
    def size(self) -> int:
        """Workers that were started and not stopped, those that are lost among them."""
        return len(self._workers)

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
