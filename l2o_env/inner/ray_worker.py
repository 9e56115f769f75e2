"""Workers that are actors of a Ray cluster: on this machine or any other, with GPUs of their own if asked for.

They speak the protocol of worker processes. Images lie in the object store of each node once; orders and answers are
the arguments and results of an actor's calls, and nothing else goes over the network.
"""

from __future__ import annotations

import logging
import pickle
import time
from functools import partial
from typing import Any

from l2o_env.cluster.connection import TELL_SECONDS, Cluster, Need, connect
from l2o_env.cluster.sent_pairs import SentPair
from l2o_env.errors import ConfigError, WorkerError, brief, one_line
from l2o_env.inner.orders import Order, Populations
from l2o_env.inner.worker_pool import AnyWorker, WorkerPool
from l2o_env.pairs.pair import Pair

BEAT_SECONDS = 5.0
"""Time between two signs of life that a worker is asked for while it works."""
SILENCE_SECONDS = 60.0
"""A worker that does not answer for so long is given up; ten times that while it starts."""
_log = logging.getLogger("l2o_env")


class RayWorker(AnyWorker):
    """An actor of a cluster, seen from the process that started it.

    Args:
        cluster: The cluster.
        need: What the actor takes.
        number: Its number, for messages.
        shares: Whether it may be put on a core that something else has, so that it need not wait for one.

    Attributes:
        sent: Bytes of all orders so far.
        received: Bytes of all answers so far.
        lost: Whether it has ended before it was told to.
    """

    def __init__(self, cluster: Cluster, need: Need, number: int, shares: bool = False) -> None:
        super().__init__(number)
        self._cluster, self._ray, self._need = cluster, cluster.ray, need
        actor = self._ray.remote(num_cpus=0 if shares else need.cpus, num_gpus=need.gpus, max_restarts=0,
                                 scheduling_strategy="SPREAD", concurrency_groups={"life": 1})(_Actor)  # fmt: skip
        self._actor = actor.remote()
        self._holds = not shares
        if self._holds:
            cluster.held.append(need)
        self._ticket = 0
        self._calls: dict[int, Any] = {}
        self._life: Any = self._actor.beat.options(concurrency_group="life").remote()
        self._asked, self._heard, self._told = time.monotonic(), False, False
        self._stopped, self.lost = False, False
        self.sent = self.received = 0

    @property
    def alive(self) -> bool:
        """Whether it can be asked for anything."""
        return not self._stopped and self._cluster.connected

    def ask(self, population: int, method: str, *args: Any) -> int:
        """Sends an order; returns its ticket for :meth:`answer`."""
        self._ticket += 1
        data = pickle.dumps(Order(self._ticket, population, method, args))
        self.sent += len(data)
        with self._sending:
            self._calls[self._ticket] = self._actor.answer.remote(data)
        self._send_drops()
        return self._ticket

    def answer(self, ticket: int) -> Any:
        """Waits for the answer to an order; answers to earlier ones that nobody has fetched are dropped."""
        call = self._calls.pop(ticket)
        for old in [each for each in self._calls if each < ticket]:
            del self._calls[old]
        data = self._waited_for(call)
        self._heard = True
        self.received += len(data)
        _, value, error = pickle.loads(data)
        if error is not None:
            raise error
        return value

    def disconnect(self) -> None:
        """Ends the actor."""
        self.stop()
        self.lost = False  # one of its number that is started later is not in its place

    def stop(self) -> None:
        """Ends the actor, whatever state it is in."""
        if self.alive:
            self._ray.kill(self._actor, no_restart=True)
        if self._holds:
            self._cluster.held.remove(self._need)
        self._stopped, self._holds = True, False

    @property
    def _takes_drops(self) -> bool:
        return self.alive

    def _send_pair(self, key: int, pair: Pair) -> None:
        self._actor.take_pair.remote(key, self._cluster.put(pair))

    def _send_drop(self, population: int) -> None:
        self._actor.drop.remote(population)

    def _waited_for(self, call: Any) -> bytes:
        if not self.alive:
            raise self._lost("was given up")
        self._asked = time.monotonic()
        while True:
            try:
                return self._ray.get(call, timeout=BEAT_SECONDS if self._heard else 1.0)
            except self._ray.exceptions.GetTimeoutError:
                self._check_life()
            except self._ray.exceptions.RayTaskError as error:
                raise ConfigError(
                    f"Ray worker {self.number} cannot read what it is sent ({brief(one_line(error.cause))}); is this "
                    "package there in the same version?"
                ) from error
            except self._ray.exceptions.RayError as error:
                raise self._lost(f"has ended ({one_line(error)})") from error

    def _check_life(self) -> None:
        """Asks for the next sign of life, or gives the worker up if the last has not come for too long."""
        if self._ray.wait([self._life], timeout=0)[0]:
            self._heard, self._asked = True, time.monotonic()
            self._life = self._actor.beat.options(concurrency_group="life").remote()
            return
        silence = time.monotonic() - self._asked
        if silence > SILENCE_SECONDS * (1 if self._heard else 10):
            raise self._lost("has given no sign of life for so long that it was ended")
        if not self._heard and silence > SILENCE_SECONDS and self._cluster.room(self._need) <= self.number:
            raise self._lost("has no place any more")  # a node has gone, and none has come
        if not self._heard and not self._told and silence > TELL_SECONDS:
            self._told = True
            _log.warning(
                "Waiting for Ray to start a worker with %s; the cluster has %s, and may be in use.",
                self._need, self._cluster.described(),
            )  # fmt: skip

    def _lost(self, what: str) -> WorkerError:
        """Ends what is left of the actor; returns the error that says so."""
        self.lost = True
        self.stop()
        there = self._cluster.described() if self._cluster.connected else "ended"
        return WorkerError(
            f"Ray worker {self.number} {what}, and its part of the population is lost. Often a node was stopped, or "
            f"its memory ran out; the cluster has {there}. Make the environment again, with fewer workers if need be."
        )


_pools: dict[tuple[str, Need], WorkerPool[RayWorker]] = {}


def ray_workers(address: str, n: int, gpus: float) -> WorkerPool[RayWorker]:
    """The pool of a cluster's workers.

    Args:
        address: Of the cluster; see ``l2o_env.cluster.connection.connect``.
        n: Workers that will be asked for.
        gpus: GPUs of each.

    Raises:
        ConfigError: If there is no such cluster, or so many do not fit; the message says what it has.
    """
    cluster, need = connect(address), Need(gpus)
    for job, _ in list(_pools):
        if job != cluster.job:  # a connection that has ended
            _pools.clear()
            break
    if (cluster.job, need) not in _pools:
        _pools[cluster.job, need] = WorkerPool(partial(_started, cluster, need, {}))
        cluster.free_unused.append(_pools[cluster.job, need].stop_unused)
    pool = _pools[cluster.job, need]
    if pool.size < n:  # else all are there already, and one in place of a lost one shares a core if need be
        cluster.require_room(n, need, "worker", reused=True)
    return pool


def _started(cluster: Cluster, need: Need, before: dict[int, RayWorker], number: int) -> RayWorker:
    """Starts a worker; one in place of a lost one waits for no core, of which the cluster may have fewer now."""
    # The memory of a GPU cannot be shared so: that is waited for.
    shares = number in before and before[number].lost and not need.gpus
    before[number] = RayWorker(cluster, need, number, shares)
    return before[number]


class _Actor:
    """The worker itself. Its calls are made one after the other, beside those that ask whether it is alive."""

    def __init__(self) -> None:
        self._populations: Populations[SentPair] = Populations(SentPair.load)

    def take_pair(self, key: int, sent: SentPair) -> None:
        """Keeps a pair; Ray has fetched it from the object store."""
        self._populations.take_pair(key, sent)

    def drop(self, population: int) -> None:
        """Frees a population."""
        self._populations.drop(population)

    def answer(self, data: bytes) -> bytes:
        """Does what an order asks for."""
        return self._populations.answer(pickle.loads(data))

    def beat(self) -> bool:
        """A sign of life."""
        return True
