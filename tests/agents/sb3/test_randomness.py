"""Random states of an agent's own: the global generators go on as if it were not there."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from agents.sb3.randomness import OwnRandomness


def _draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_the_global_generators_go_on_as_they_were() -> None:
    own = OwnRandomness(3)
    states: tuple[Any, ...] = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[union-attr, index]
    with pytest.raises(KeyboardInterrupt), own():  # also where the block is cut short
        _draws()
        raise KeyboardInterrupt
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[2])
    assert np.array_equal(np.random.get_state()[1], states[1])  # type: ignore[index]


def test_what_is_drawn_follows_the_seed_and_goes_on_from_block_to_block() -> None:
    drawn = []
    for seed in (3, 3, 4):
        own = OwnRandomness(seed)
        with own():
            first = _draws()
        _draws()
        with own():
            drawn.append((first, _draws()))
    assert drawn[0] == drawn[1] and drawn[0][0] != drawn[0][1]
    assert drawn[0][0] != drawn[2][0]
