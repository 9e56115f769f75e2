"""How many threads compute: one in forked processes, and one of PyTorch's where its others would be in the way.

Between two parallel operations PyTorch's threads do not sleep: for milliseconds they wait on their cores, and take them
from whoever computes there meanwhile, such as our kernels' threads or those that decode images.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
_lock = threading.Lock()
_depth, _n_threads = 0, 1


def compute_alone_after_fork() -> None:
    """From now on, processes that are forked from this one compute with one thread.

    Of PyTorch's threads a fork copies only the one that calls it, and OpenMP would wait for the others for ever. This
    neither loads PyTorch nor minds when it is loaded.
    """
    if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
        os.register_at_fork(after_in_child=_compute_alone)


def _compute_alone() -> None:
    global _lock, _n_threads
    _lock, _n_threads = threading.Lock(), 1  # another thread may have held the lock when the process was forked
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)


def n_threads() -> int:
    """Threads for our own code to compute with: as many as PyTorch may use, also within :func:`one_torch_thread`."""
    import torch

    with _lock:
        return _n_threads if _depth else torch.get_num_threads()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """PyTorch computes with one thread inside, and then with as many as before; may be nested."""
    global _depth, _n_threads
    import torch

    with _lock:
        if not _depth:
            _n_threads = torch.get_num_threads()
            torch.set_num_threads(1)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if not _depth:
                torch.set_num_threads(_n_threads)


class Threaded(Protocol):
    """Something that knows whether PyTorch does better with one thread.

    Attributes:
        one_thread: Whether it does.
    """

    one_thread: bool


S = TypeVar("S", bound=Threaded)


def with_fitting_threads(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Decorates a method that PyTorch computes with one thread if its object's ``one_thread`` says so."""

    @wraps(method)
    def wrapped(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        if not self.one_thread:
            return method(self, *args, **kwargs)
        with one_torch_thread():
            return method(self, *args, **kwargs)

    return wrapped
