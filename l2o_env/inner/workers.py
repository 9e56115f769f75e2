"""Worker processes that run parts of populations.

All populations of a process share its workers, which are started when they are first needed. Images are sent once, as
shared memory. A worker ends with the process that started it.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import traceback
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch

from l2o_env.errors import ConfigError
from l2o_env.inner.shared_memory import dump_pair
from l2o_env.pairs.pair import Pair

Builder = Callable[[Sequence[Pair]], Any]
"""Makes a population of pairs, in the worker; it is pickled: ``l2o_env.inner.build.Plan``."""


class WorkerError(RuntimeError):
    """A worker process has died, and with it its part of the population."""


class _Order(NamedTuple):
    """What a worker is asked to do with one of its populations."""

    ticket: int
    population: int
    method: str
    args: tuple[Any, ...]


class Worker:
    """A worker process, seen from the one that started it.

    Args:
        number: Its number, for messages.
    """

    def __init__(self, number: int) -> None:
        context = torch.multiprocessing.get_context("spawn")
        self.number = number
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True, name=f"l2o-worker-{number}")
        try:
            self._process.start()
        except AssertionError as error:
            raise ConfigError(
                "workers > 1 is not possible in a daemonic process, such as a worker of Gymnasium's AsyncVectorEnv; "
                "use workers=1 there."
            ) from error
        theirs.close()  # so that the end of the process closes the connection
        self._ticket = 0
        self._sent: weakref.WeakKeyDictionary[Pair, int] = weakref.WeakKeyDictionary()
        self._n_sent = 0
        self._sending = threading.Lock()
        self._dropped: list[int] = []
        self.populations = 0

    @property
    def alive(self) -> bool:
        """Whether it can be asked for anything."""
        return not self._connection.closed and self._process.is_alive()

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid

    def ask(self, population: int, method: str, *args: Any) -> int:
        """Sends an order; returns its ticket for :meth:`answer`."""
        self._ticket += 1
        ticket = self._ticket
        self._send(pickle.dumps(_Order(ticket, population, method, args)))
        self._send_drops()
        return ticket

    def drop(self, population: int) -> None:
        """Lets it free a population. May be called at any time, by the garbage collector in the middle of a message."""
        self._dropped.append(population)
        self._send_drops()

    def answer(self, ticket: int) -> Any:
        """Waits for the answer to an order; answers to earlier ones that nobody has fetched are dropped."""
        while True:
            try:
                got, value, error = pickle.loads(self._connection.recv_bytes())
            except (EOFError, OSError) as cause:
                raise self._died() from cause
            if got == ticket:
                if error is not None:
                    raise error
                return value

    def send_pairs(self, pairs: Sequence[Pair]) -> list[int]:
        """Makes pairs known to the worker; returns the keys that it knows them by.

        Raises:
            ConfigError: If a pair cannot be sent.
        """
        for pair in pairs:
            if pair not in self._sent:
                try:
                    data = dump_pair(pair)
                except (pickle.PicklingError, AttributeError, TypeError) as error:
                    raise ConfigError(
                        f"Pair {pair.name!r} cannot be sent to worker processes: {error}. Build it of functions and "
                        "classes of importable modules, or use workers=1."
                    ) from error
                self._send(pickle.dumps(_Order(0, self._n_sent, "pair", (data,))))
                self._sent[pair] = self._n_sent
                self._n_sent += 1
        return [self._sent[pair] for pair in pairs]

    def disconnect(self) -> None:
        """Tells the process that there is nothing more to do."""
        self._connection.close()

    def stop(self) -> None:
        """Ends the process, after a moment's grace."""
        self.disconnect()
        self._process.join(timeout=1)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def _send(self, data: bytes) -> None:
        with self._sending:
            self._write(data)

    def _send_drops(self) -> None:
        while self._dropped and self._sending.acquire(blocking=False):  # else whoever is sending does it afterwards
            try:
                if self._dropped:
                    self._write(pickle.dumps(_Order(0, self._dropped.pop(), "drop", ())))
            finally:
                self._sending.release()

    def _write(self, data: bytes) -> None:
        try:
            self._connection.send_bytes(data)
        except OSError as cause:
            raise self._died() from cause

    def _died(self) -> WorkerError:
        self._process.join(timeout=5)
        code, pid = self._process.exitcode, self._process.pid
        stop_workers()
        return WorkerError(
            f"Worker process {self.number} (pid {pid}) has ended with exit code {code}, and its part of the population "
            "is lost. -9 often means that memory ran out; 1 that the script has no `if __name__ == '__main__':` around "
            "what it runs. Make the environment again, with fewer workers if need be."
        )


class WorkerShard:
    """A part of a population in a worker process; see ``l2o_env.inner.sharded.Shard``.

    The population is being built when the constructor returns; ``result`` waits for that.

    Args:
        worker: Where it runs.
        build: Makes the population.
        pairs: Its pairs.
        threads: Threads that it computes with.
    """

    _count = 0

    def __init__(self, worker: Worker, build: Builder, pairs: Sequence[Pair], threads: int) -> None:
        WorkerShard._count += 1
        self._worker, self._id = worker, WorkerShard._count
        self._ticket = worker.ask(self._id, "build", build, worker.send_pairs(pairs), threads)
        worker.populations += 1

    def submit(self, method: str, *args: Any) -> None:
        """See ``Shard``."""
        self._ticket = self._worker.ask(self._id, method, *args)

    def result(self) -> Any:
        """See ``Shard``."""
        return self._worker.answer(self._ticket)

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
        if not any(worker.populations for worker in _workers):
            stop_workers()


_workers: list[Worker] = []
_owner = os.getpid()


def get_workers(n: int) -> list[Worker]:
    """The first `n` workers of this process; those that are missing are started."""
    global _owner
    if _owner != os.getpid():  # a fork: the workers are those of the other process
        _workers.clear()
        _owner = os.getpid()
    if not all(worker.alive for worker in _workers):
        stop_workers()
    while len(_workers) < n:
        _workers.append(Worker(len(_workers)))
    return _workers[:n]


def stop_workers() -> None:
    """Ends all workers of this process; populations that they run are lost."""
    for worker in _workers:
        worker.disconnect()
    while _workers:
        _workers.pop().stop()


# --- in the worker ---------------------------------------------------------------------------------------------------


def _serve(connection: Connection) -> None:
    # Ctrl-C goes to all processes of a terminal; the one that started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pairs: dict[int, bytes | Pair] = {}
    populations: dict[int, Any] = {}
    while True:
        try:
            order = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        if order.method == "pair":
            pairs[order.population] = order.args[0]
        elif order.method == "drop":
            populations.pop(order.population, None)
        else:
            answer = _answer(order, pairs, populations)
            try:
                connection.send_bytes(answer)
            except OSError:
                return


def _answer(order: _Order, pairs: dict[int, bytes | Pair], populations: dict[int, Any]) -> bytes:
    try:
        if order.method == "build":
            populations[order.population] = _build(order, pairs)
            return pickle.dumps((order.ticket, None, None))
        value = getattr(populations[order.population], order.method)(*order.args)
        return pickle.dumps((order.ticket, value, None))
    except Exception as caught:
        error: Exception = caught
        # What `add_note` does, which Python 3.10 lacks.
        vars(error).setdefault("__notes__", []).append("In a worker process:\n" + traceback.format_exc())
    try:
        return pickle.dumps((order.ticket, None, error))
    except Exception:  # an exception that cannot be sent
        return pickle.dumps((order.ticket, None, RuntimeError(f"{type(error).__name__}: {error}")))


def _build(order: _Order, pairs: dict[int, bytes | Pair]) -> Any:
    build, keys, threads = order.args
    torch.set_num_threads(threads)
    members = []
    for key in keys:
        pair = pairs[key]
        if isinstance(pair, bytes):
            pair = pairs[key] = pickle.loads(pair)
        members.append(pair)
    return build(members)
