"""How activations are stored."""

from __future__ import annotations

from l2o_env.models.kernels.simd import WIDE
from l2o_env.models.kernels.tiles import TILE, padded


def test_lengths_are_filled_up() -> None:
    assert [padded(n) for n in (0, 1, 3, 4, 5, 10)] == [0, 4, 4, 4, 8, 12]
    assert padded(17, 16) == 32
    assert TILE % WIDE == 0  # vectors of samples fill a tile
