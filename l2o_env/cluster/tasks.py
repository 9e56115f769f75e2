"""Cells of a table as tasks of a cluster: they hang on nothing but what they are sent, and can run anywhere."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from l2o_env.cluster.connection import Cluster, Need, connect
from l2o_env.cluster.sent_pairs import SentPair
from l2o_env.pairs import registry as pair_registry

RETRIES = 3
"""Times that a task is run again because its process or node was lost."""
T = TypeVar("T")


@dataclass(frozen=True)
class Tasks:
    """Where the cells of a command are computed.

    Attributes:
        address: Of the cluster; see ``connection.connect``.
        gpus: GPUs of each task: a share of one, or whole ones.
    """

    address: str
    gpus: float = 0.0

    def connect(self) -> Cluster:
        """Connects to the cluster.

        Raises:
            ConfigError: If there is none, or it has no room for a single task.
        """
        cluster = connect(self.address)
        cluster.require_room(1, Need(self.gpus), "tasks")
        return cluster

    def run(self, calls: Sequence[Callable[[], T]], pairs: Sequence[str] = ()) -> Iterator[tuple[int, T]]:
        """Makes calls on the cluster, as many at a time as fit, each with one thread.

        A task whose process or node is lost is run again, ``RETRIES`` times at most. If a call raises, or the caller
        does not want the rest, all others are ended.

        Args:
            calls: What to call; functions and arguments are pickled, those of a script or notebook too.
            pairs: Names of the pairs that they use; they are sent along, and not built again.

        Yields:
            Index and value of each call, as they finish.

        Raises:
            ConfigError: If there is no cluster, or no room in it.
            Exception: What a call has raised.
        """
        cluster = self.connect()
        ray, sent = cluster.ray, [cluster.put(pair_registry.make(name)) for name in pairs]
        options = {"num_cpus": Need(self.gpus).cpus, "num_gpus": self.gpus, "max_retries": RETRIES,
                   "scheduling_strategy": "SPREAD"}  # fmt: skip
        task = ray.remote(**options)(_called)
        dumps = ray.cloudpickle.dumps
        pending = {task.remote(dumps(call), list(pairs), *sent): k for k, call in enumerate(calls)}
        try:
            while pending:
                (ref,), _ = ray.wait(list(pending), num_returns=1)
                k = pending.pop(ref)
                value, error = pickle.loads(ray.get(ref))
                if error is not None:
                    raise error
                yield k, value
        finally:
            for ref in pending:
                ray.cancel(ref, force=True)


def sendable(value: Any) -> bool:
    """Whether a call can take a value along."""
    import ray.cloudpickle

    try:
        ray.cloudpickle.dumps(value)
    except Exception:  # whatever it is made of has its own errors
        return False
    return True


_taken: dict[str, str] = {}
"""In a task's process: what it was sent as each pair, by name."""


def _called(call: bytes, names: Sequence[str], *sent: SentPair) -> bytes:
    """Makes a call, in a process of the cluster's; returns value and error, pickled."""
    import ray.cloudpickle

    try:
        torch.set_num_threads(1)
        for name, pair in zip(names, sent, strict=True):
            if _taken.get(name) != pair.key:
                pair_registry.take(name, pair.load())
                _taken[name] = pair.key
        return bytes(ray.cloudpickle.dumps((pickle.loads(call)(), None)))
    except Exception as caught:
        error: Exception = caught
        vars(error).setdefault("__notes__", []).append("In a task:\n" + traceback.format_exc())
    if not sendable(error):
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return bytes(ray.cloudpickle.dumps((None, error)))
