"""Keeps what Stable-Baselines3 draws apart from the global generators that it draws from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class OwnRandomness:
    """Random states of an agent's own: SB3 draws from the global generators, which nobody else may notice.

    Args:
        seed: Seed of all three generators (Python's, NumPy's, PyTorch's).
    """

    def __init__(self, seed: int) -> None:
        words = np.random.SeedSequence(seed).generate_state(3)
        self._python = random.Random(int(words[0])).getstate()
        self._numpy = np.random.RandomState(int(words[1])).get_state()
        self._torch = torch.Generator().manual_seed(int(words[2])).get_state()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Puts the agent's states in the place of the global ones, and everything back at the end of the block."""
        outside = _global_state()
        self._restore(self._python, self._numpy, self._torch)
        try:
            yield
        finally:
            self._python, self._numpy, self._torch = _global_state()
            self._restore(*outside)

    def get_state(self) -> dict[str, Any]:
        """The states as plain values and a tensor; those that are in place now too, for a state taken in a block."""
        return {"own": _as_plain(self._python, self._numpy, self._torch), "in place": _as_plain(*_global_state())}

    def set_state(self, state: dict[str, Any], *, in_place: bool = False) -> None:
        """Takes up a state that :meth:`get_state` returned.

        Args:
            state: The state.
            in_place: Whether this is inside a block, so that what was in place then comes into place too.
        """
        self._python, self._numpy, self._torch = _from_plain(state["own"])
        if in_place:
            self._restore(*_from_plain(state["in place"]))

    @staticmethod
    def _restore(python: Any, numpy: Any, torch_state: torch.Tensor) -> None:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(torch_state)


def _global_state() -> tuple[Any, Any, torch.Tensor]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _as_plain(python: Any, numpy: Any, torch_state: torch.Tensor) -> list[Any]:
    kind, words, *rest = numpy
    return [python, (kind, words.tolist(), *rest), torch_state]


def _from_plain(state: list[Any]) -> tuple[Any, Any, torch.Tensor]:
    python, (kind, words, *rest), torch_state = state
    return python, (kind, np.array(words, np.uint32), *rest), torch_state
