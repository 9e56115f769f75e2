"""A Ray cluster, as one process sees it: what it has, what fits, and the pairs that were sent to it."""

from __future__ import annotations

import math
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from l2o_env.cluster.sent_pairs import SentPair
from l2o_env.errors import ConfigError, brief, one_line
from l2o_env.extras import require
from l2o_env.pairs.pair import Pair

AUTO = "auto"
"""The address of the cluster that ``RAY_ADDRESS`` names or that runs on this machine; without one it is started."""

TELL_SECONDS = 20.0
"""What has not started by then is told of."""


class Need(NamedTuple):
    """What one worker or task takes.

    Attributes:
        gpus: GPUs; a share of one, or several whole ones.
        cpus: Processor cores.
    """

    gpus: float = 0.0
    cpus: int = 1

    def __str__(self) -> str:
        """In words."""
        return f"{self.cpus} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")

    @property
    def device(self) -> str:
        """The device that it computes on."""
        return "cuda" if self.gpus else "cpu"


class Cluster:
    """A cluster that this process is connected to; see :func:`connect`.

    Attributes:
        ray: The package.
        job: Tells this connection from any other.
        bytes_of_pairs: Bytes of the pairs that were put into the object store.
        held: What this process's own workers keep from everything else, until they are stopped.
        free_unused: Stop those workers that have nothing to do.
    """

    def __init__(self, ray: Any) -> None:
        self.ray, self.job = ray, _job(ray)
        self.bytes_of_pairs = 0
        self.held: list[Need] = []
        self.free_unused: list[Callable[[], None]] = []
        self._pairs: weakref.WeakKeyDictionary[Pair, Any] = weakref.WeakKeyDictionary()

    @property
    def connected(self) -> bool:
        """Whether this process is still connected to it."""
        return self.ray.is_initialized() and self.job == _job(self.ray)

    def put(self, pair: Pair) -> Any:
        """A pair in the object store, which hands its images to each node once.

        Args:
            pair: The pair; one that was put before is not put again.

        Returns:
            A reference to its :class:`SentPair`.

        Raises:
            ConfigError: If it cannot be sent.
        """
        if pair not in self._pairs:
            sent = SentPair.of(pair)
            self.bytes_of_pairs += sent.n_bytes
            self._pairs[pair] = self.ray.put(sent)
        return self._pairs[pair]

    def room(self, need: Need, held: Sequence[Need] = ()) -> int:
        """How many of a need fit on the nodes that are there, if nothing else runs on them but what is held."""
        nodes = [dict(node["Resources"]) for node in self.ray.nodes() if node["Alive"]]
        for each in held:
            node = next((node for node in nodes if _room(node, each)), {})
            for key, amount in (("CPU", each.cpus), ("GPU", each.gpus)):
                node[key] = node.get(key, 0.0) - amount
        return sum(_room(node, need) for node in nodes)

    def require_room(self, n: int, need: Need, what: str, reused: bool = False) -> None:
        """Checks that so many fit beside this process's own workers; those without work are stopped if need be.

        Args:
            n: How many.
            need: What each takes.
            what: What one of them is called.
            reused: Whether workers of this process that take the same are among them.

        Raises:
            ConfigError: If they do not; the message says what the cluster has.
        """
        asked = f"{n} {what}s with {need} each do not fit" if n > 1 else f"A {what} with {need} does not fit"
        room = self.room(need)
        if room < n:
            raise ConfigError(
                f"{asked}: the cluster has {self.described()}, room for {room}. Ask for fewer, or for less for each, "
                "or start more nodes first."
            )
        if self._room_beside(need, reused) < n:
            for free in self.free_unused:
                free()
        room = self._room_beside(need, reused)
        if room < n:
            raise ConfigError(
                f"{asked}: the cluster has {self.described()}, and beside the {len(self.held)} workers of this "
                f"process's environments there is room for {room}. Close environments that are done with "
                "(`env.close()`), or make them with fewer workers."
            )

    def _room_beside(self, need: Need, reused: bool) -> int:
        return self.room(need, [each for each in self.held if not (reused and each == need)])

    def described(self) -> str:
        """What the cluster has, in words."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        cpus, gpus = (sum(node.get(key, 0.0) for node in nodes) for key in ("CPU", "GPU"))
        return f"{len(nodes)} node{'s' * (len(nodes) != 1)} with {cpus:g} CPU and {gpus:g} GPU in all"


def _job(ray: Any) -> str:
    """Tells a connection from any other, by its node too: the first job of every cluster has the same number."""
    context = ray.get_runtime_context()
    return f"{context.get_job_id()} on {context.get_node_id()}"


_current: Cluster | None = None


def connect(address: str) -> Cluster:
    """Connects this process to a cluster, once; a connection that is there already is taken, whoever has made it.

    Args:
        address: ``AUTO``, or where the head of the cluster is, such as ``"10.0.0.1:6379"``.

    Raises:
        MissingExtraError: If Ray is not installed.
        ConfigError: If there is no cluster at the address.
    """
    global _current
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody has asked for reports
    os.environ.setdefault("RAY_worker_niceness", "0")  # else they starve beside anything else that computes
    ray = require("ray", extra="ray", what="--ray")
    if not ray.is_initialized():
        _init(ray, address)
    if _current is None or not _current.connected:
        _current = Cluster(ray)
    return _current


def _init(ray: Any, address: str) -> None:
    if address.startswith("ray://"):
        raise ConfigError(
            f"{address} is a Ray client's address, which every step would be sent by; run the command on a node of the "
            "cluster, with `--ray auto`."
        )
    try:
        with _own_signals():
            ray.init(
                address=None if address == AUTO else address,
                include_dashboard=False,
                log_to_driver=False,  # what goes wrong comes as an exception
                logging_level="ERROR",
            )
    except Exception as error:  # Ray raises plain ones too
        raise ConfigError(
            f"No Ray cluster can be reached or started at {address!r} ({brief(one_line(error))}); start one with `ray "
            f"start --head`, or use {AUTO!r}."
        ) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keeps what SIGTERM does: Ray would make it an exit in which nothing is saved."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _room(resources: dict[str, float], need: Need) -> int:
    """How many of a need fit on a node."""
    room = int(resources.get("CPU", 0.0) // need.cpus)
    if need.gpus:
        gpus = int(resources.get("GPU", 0.0))
        # A share is of one GPU: two halves and two halves, not four out of any two.
        room = min(room, gpus * math.floor(1 / need.gpus + 1e-9) if need.gpus < 1 else gpus // int(need.gpus))
    return room
