"""A part of a population in a worker, which is made again if that ends."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from l2o_env.errors import WorkerError
from l2o_env.inner.orders import Builder
from l2o_env.inner.worker_pool import WorkerPool
from l2o_env.pairs.pair import Pair

ATTEMPTS = 3
"""Times that a call is made again in a new worker."""
JOURNAL_CALLS = 64
"""Calls that are remembered, until a state is taken in their place."""
_CHANGING = ("start", "run", "set_state")
_log = logging.getLogger("l2o_env")


class WorkerShard:
    """A part of a population in a worker; see ``l2o_env.inner.sharded.Shard``.

    The population is being built when the constructor returns; ``result`` waits for that. If the worker ends, or gives
    no sign of life, a new one builds the population and repeats the calls that have made it what it was: those since
    all its optimizees were last started, or since a state was taken. A call does the same wherever it is made, bit for
    bit, so that nobody notices but by the time it takes. As long as nothing goes wrong this costs nothing.

    Args:
        pool: The workers.
        number: Which of them runs it.
        build: Makes the population.
        pairs: Its pairs.
        threads: Threads that it computes with.
        size: Optimizees of it.
    """

    _count = 0

    def __init__(
        self, pool: WorkerPool[Any], number: int, build: Builder, pairs: Sequence[Pair], threads: int, size: int
    ) -> None:
        WorkerShard._count += 1
        self._pool, self._worker, self._id = pool, pool.get(number + 1)[number], WorkerShard._count
        self._plan, self._size = (build, tuple(pairs), threads), size
        self._journal: list[tuple[str, tuple[Any, ...]]] = []
        self._call: tuple[str, tuple[Any, ...]] | None = None
        self._error: WorkerError | None = None  # of a call that could not be submitted
        self._ticket = self._ask_to_build()

    def _ask_to_build(self) -> int:
        build, pairs, threads = self._plan
        ticket = self._worker.ask(self._id, "build", build, self._worker.send_pairs(pairs), threads)
        self._worker.populations += 1
        return ticket

    def submit(self, method: str, *args: Any) -> None:
        """See ``Shard``."""
        self._call = method, args
        try:
            self._ticket = self._worker.ask(self._id, method, *args)
        except WorkerError as error:
            self._error = error

    def result(self) -> Any:
        """See ``Shard``.

        Raises:
            WorkerError: If new workers have ended too.
        """
        for attempt in range(ATTEMPTS + 1):
            try:
                if attempt:
                    self._make_again()
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                value = self._worker.answer(self._ticket)
                break
            except WorkerError as error:
                if attempt == ATTEMPTS:
                    self._pool.stop()
                    raise
                _log.warning("%s It is made again in a new process.", str(error).partition(", and its part")[0] + ".")
        self._remember()
        return value

    def _make_again(self) -> None:
        """Builds the population in a new worker, makes it what it was, and submits the call again."""
        self._worker = self._pool.get(self._worker.number + 1)[self._worker.number]
        self._ticket = self._ask_to_build()
        if self._call is None:  # it was being built
            return
        self._worker.answer(self._ticket)
        for method, args in self._journal:
            self._worker.answer(self._worker.ask(self._id, method, *args))
        method, args = self._call
        self._ticket = self._worker.ask(self._id, method, *args)

    def _remember(self) -> None:
        """Keeps the call that has been answered, if the population depends on it."""
        if self._call is None or self._call[0] not in _CHANGING:
            return
        method, args = self._call
        if method == "set_state" or (method == "start" and len(args[0]) == self._size):
            self._journal.clear()  # nothing of what was before is left
        self._journal.append(self._call)
        if len(self._journal) > JOURNAL_CALLS:
            self.submit("get_state")
            self._journal = [("set_state", (self.result(),))]

    def forget(self) -> None:
        """Lets the worker free the population, without waiting."""
        self._worker.populations -= 1
        if self._worker.alive:
            try:
                self._worker.drop(self._id)
            except WorkerError:
                return

    def close(self) -> None:
        """Frees the population, and ends the workers if they have no other."""
        self.forget()
        self._pool.stop_unused()
