"""What a worker is asked for, and how it answers: the same for worker processes and for Ray's actors."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import torch

from l2o_env.pairs.pair import Pair

Builder = Callable[[Sequence[Pair]], Any]
"""Makes a population of pairs, in the worker; it is pickled: ``l2o_env.inner.build.Plan``."""
S = TypeVar("S")


class Order(NamedTuple):
    """What a worker is asked to do with one of its populations."""

    ticket: int
    population: int
    method: str
    args: tuple[Any, ...]


class Populations(Generic[S]):
    """The populations of a worker, and the pairs that it was sent; in the worker.

    Args:
        load: Makes a pair of what was sent.
    """

    def __init__(self, load: Callable[[S], Pair]) -> None:
        self._load = load
        self._sent: dict[int, S] = {}
        self._pairs: dict[int, Pair] = {}
        self._populations: dict[int, Any] = {}

    def take_pair(self, key: int, sent: S) -> None:
        """Keeps a pair until a population is built of it."""
        self._sent[key] = sent

    def drop(self, population: int) -> None:
        """Frees a population."""
        self._populations.pop(population, None)

    def answer(self, order: Order) -> bytes:
        """Does what is asked; returns ticket, value and error, pickled."""
        try:
            if order.method == "build":
                self._populations[order.population] = self._build(*order.args)
                return pickle.dumps((order.ticket, None, None))
            value = getattr(self._populations[order.population], order.method)(*order.args)
            return pickle.dumps((order.ticket, value, None))
        except Exception as caught:
            error: Exception = caught
            # What `add_note` does, which Python 3.10 lacks.
            vars(error).setdefault("__notes__", []).append("In a worker process:\n" + traceback.format_exc())
        try:
            return pickle.dumps((order.ticket, None, error))
        except Exception:  # an exception that cannot be sent
            return pickle.dumps((order.ticket, None, RuntimeError(f"{type(error).__name__}: {error}")))

    def _build(self, build: Builder, keys: Sequence[int], threads: int) -> Any:
        torch.set_num_threads(threads)
        for key in keys:
            if key not in self._pairs:
                self._pairs[key] = self._load(self._sent.pop(key))
        return build([self._pairs[key] for key in keys])
