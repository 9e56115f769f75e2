"""Cells of a table as tasks of a cluster: they hang on nothing but what they are sent, and can run anywhere."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from l2o_env.cluster.connection import TELL_SECONDS, Cluster, Need, connect
from l2o_env.cluster.sent_pairs import SentPair
from l2o_env.errors import ConfigError, WorkerError, brief, one_line
from l2o_env.pairs import registry as pair_registry

RETRIES = 3
"""Times that a task is run again because its process or node was lost."""
NOWHERE = 3
"""Times that a node that tasks fit on is looked for, every ``TELL_SECONDS``, if those that were there have gone."""
T = TypeVar("T")
_log = logging.getLogger("l2o_env")


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
        cluster.require_room(1, Need(self.gpus), "task")
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
            ConfigError: If there is no cluster, or no room in it, or no longer.
            WorkerError: If a task was lost again and again.
            Exception: What a call has raised.
        """
        cluster = self.connect()
        ray, sent = cluster.ray, [cluster.put(pair_registry.make(name)) for name in pairs]
        options = {"num_cpus": Need(self.gpus).cpus, "num_gpus": self.gpus, "max_retries": RETRIES,
                   "scheduling_strategy": "SPREAD", "num_returns": "streaming"}  # fmt: skip
        task = ray.remote(**options)(_called)
        dumps = ray.cloudpickle.dumps
        pending = {task.remote(dumps(call), list(pairs), *sent): k for k, call in enumerate(calls)}
        try:
            for k, answer in self._answers(cluster, pending):
                value, error = pickle.loads(answer)
                if error is not None:
                    raise error
                yield k, value
        finally:
            for call in pending:
                ray.cancel(call, force=True)

    def _answers(self, cluster: Cluster, pending: dict[Any, int]) -> Iterator[tuple[int, bytes]]:
        """Index and answer of each task as it comes, which is taken out of those that are pending."""
        ray, need, begun, told, nowhere = cluster.ray, Need(self.gpus), set[int](), False, 0
        while pending:
            ready, _ = ray.wait(list(pending), num_returns=1, timeout=TELL_SECONDS)
            if ready:
                answer, k = self._answer(cluster, next(ready[0])), pending[ready[0]]
                if k in begun:
                    del pending[ready[0]]
                    yield k, answer
                begun.add(k)  # that it has is what it says first
                continue
            nowhere = 0 if cluster.room(need) else nowhere + 1
            if nowhere > NOWHERE:  # their nodes have gone, and none has come
                cluster.require_room(1, need, "task")
            if not begun and not told:
                told = True
                _log.warning(
                    "Waiting for Ray to begin a task with %s; the cluster has %s, and may be in use.",
                    need, cluster.described(),
                )  # fmt: skip

    def _answer(self, cluster: Cluster, answer: Any) -> bytes:
        """An answer that is there, unless its task was lost."""
        try:
            return bytes(cluster.ray.get(answer))
        except cluster.ray.exceptions.RayTaskError as error:
            raise ConfigError(
                f"A task cannot be read where it was sent ({brief(one_line(error.cause))}); is this package there in "
                "the same version?"
            ) from error
        except cluster.ray.exceptions.RayError as error:
            raise WorkerError(
                f"A task was lost {1 + RETRIES} times ({one_line(error)}). Often a node was stopped, or its memory ran "
                f"out; the cluster has {cluster.described()}. What had come before is kept where a command keeps its "
                "parts: give it again, with fewer tasks on each node if need be."
            ) from error


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


def _called(call: bytes, names: Sequence[str], *sent: SentPair) -> Iterator[bytes]:
    """Makes a call, in a process of the cluster's; says that it has begun, then value and error, pickled."""
    yield b""
    yield _answer(call, names, sent)


def _answer(call: bytes, names: Sequence[str], sent: Sequence[SentPair]) -> bytes:
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
