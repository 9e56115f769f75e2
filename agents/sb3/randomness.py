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
        outside = random.getstate(), np.random.get_state(), torch.get_rng_state()
        self._restore(self._python, self._numpy, self._torch)
        try:
            yield
        finally:
            self._python, self._numpy = random.getstate(), np.random.get_state()
            self._torch = torch.get_rng_state()
            self._restore(*outside)

    @staticmethod
    def _restore(python: Any, numpy: Any, torch_state: torch.Tensor) -> None:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(torch_state)
