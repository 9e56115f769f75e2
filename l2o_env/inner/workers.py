"""Worker processes that run parts of populations.

All populations of a process share its workers, which are started when they are first needed. Images are sent once, as
shared memory. A worker ends with the process that started it. While it works it gives a sign of life every second, so
that one which was stopped, or hangs, is not waited for.
"""

from __future__ import annotations

import atexit
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing.connection import Connection
from typing import Any

import torch

from l2o_env.errors import ConfigError, WorkerError
from l2o_env.inner.orders import Order, Populations
from l2o_env.inner.shared_memory import dump_pair
from l2o_env.inner.worker_pool import AnyWorker, WorkerPool
from l2o_env.pairs.pair import Pair

BEAT_SECONDS = 1.0
"""Time between two signs of life of a worker that works."""
SILENCE_SECONDS = 60.0
"""A worker that works and gives no sign of life for so long is given up; ten times that while it starts."""
_BEAT = b""
_SMALL = 4096
"""Bytes of a message that a pipe takes whether anybody reads or not."""


class Worker(AnyWorker):
    """A worker process, seen from the one that started it.

    Args:
        number: Its number, for messages.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        context = torch.multiprocessing.get_context("spawn")
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
        self._ticket, self._heard = 0, False

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
        self._send(pickle.dumps(Order(ticket, population, method, args)))
        self._send_drops()
        return ticket

    def answer(self, ticket: int) -> Any:
        """Waits for the answer to an order; answers to earlier ones that nobody has fetched are dropped."""
        while True:
            try:
                if not self._connection.poll(SILENCE_SECONDS * (1 if self._heard else 10)):
                    raise self._lost("has given no sign of life for so long that it was ended")
                message = self._connection.recv_bytes()
            except (EOFError, OSError) as cause:
                raise self._lost() from cause
            self._heard = True
            if message == _BEAT:
                continue
            got, value, error = pickle.loads(message)
            if got == ticket:
                if error is not None:
                    raise error
                return value

    def disconnect(self) -> None:
        """Tells the process that there is nothing more to do."""
        self._connection.close()

    def stop(self) -> None:
        """Ends the process, after a moment's grace; one that is stopped too."""
        self.disconnect()
        self._process.join(timeout=1)
        if self._process.is_alive():
            self._process.kill()  # a process that is stopped would not hear of SIGTERM
            self._process.join()

    def _send(self, data: bytes) -> None:
        with self._sending:
            self._write(data)

    def _send_pair(self, key: int, pair: Pair) -> None:
        try:
            data = dump_pair(pair)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"Pair {pair.name!r} cannot be sent to worker processes: {error}. Build it of functions and classes of "
                "importable modules, or use workers=1."
            ) from error
        self._send(pickle.dumps(Order(0, key, "pair", (data,))))

    def _send_drop(self, population: int) -> None:
        self._write(pickle.dumps(Order(0, population, "drop", ())))

    def _write(self, data: bytes) -> None:
        try:
            with self._watched() if len(data) > _SMALL else nullcontext():
                self._connection.send_bytes(data)
        except OSError as cause:
            raise self._lost() from cause

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Ends the process if the block takes too long: one that is stopped reads nothing."""
        watch = threading.Timer(10 * SILENCE_SECONDS, self._process.kill)
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()

    def _lost(self, what: str = "") -> WorkerError:
        """Ends what is left of the process; returns the error that says so."""
        if not what:
            self._process.join(timeout=5)
            what = f"has ended with exit code {self._process.exitcode}"
        pid = self._process.pid
        self.stop()
        return WorkerError(
            f"Worker process {self.number} (pid {pid}) {what}, and its part of the population is lost. -9 often means "
            "that memory ran out; 1 that the script has no `if __name__ == '__main__':` around what it runs. Make the "
            "environment again, with fewer workers if need be."
        )


PROCESSES = WorkerPool(Worker)
"""The worker processes of this one."""
get_workers, stop_workers = PROCESSES.get, PROCESSES.stop
# Before multiprocessing ends what it has started, which waits for processes that are stopped.
atexit.register(PROCESSES.stop)


# --- in the worker ---------------------------------------------------------------------------------------------------


def _serve(connection: Connection) -> None:
    # Ctrl-C and the end of a terminal go to all its processes; the one that started this one decides.
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    heart = _Heart(connection)
    populations: Populations[bytes] = Populations(pickle.loads)
    while True:
        try:
            order = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        if order.method == "pair":
            populations.take_pair(order.population, *order.args)
        elif order.method == "drop":
            populations.drop(order.population)
        else:
            with heart.beating():
                answer = populations.answer(order)
            if not heart.send(answer):
                return


class _Heart:
    """Gives signs of life while there is work; otherwise nobody would read them."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._sending, self._working = connection, threading.Lock(), threading.Event()
        self.send(_BEAT)  # it has started
        threading.Thread(target=self._beat, daemon=True).start()

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Beats within the block."""
        self._working.set()
        try:
            yield
        finally:
            self._working.clear()

    def send(self, message: bytes) -> bool:
        """Sends a message between two beats; returns whether there is still somebody to read it."""
        with self._sending:
            try:
                self._connection.send_bytes(message)
            except OSError:
                return False
        return True

    def _beat(self) -> None:
        while self._working.wait() and self.send(_BEAT):
            time.sleep(BEAT_SECONDS)
