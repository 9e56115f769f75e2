"""Independent random streams from one seed: one for each purpose, so that none shifts the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

Purpose = Literal[
    "train", "validation", "target", "proxy_train", "proxy_test", "proxy_weights", "label_noise", "shifted"
]
"""What a stream is for. Its place in this list is its key: append only."""


def stream(entropy: int | Sequence[int], purpose: Purpose) -> np.random.SeedSequence:
    """The stream of a purpose, to seed NumPy's generators with."""
    return np.random.SeedSequence(entropy, spawn_key=(get_args(Purpose).index(purpose),))


def torch_seed(entropy: int | Sequence[int], purpose: Purpose) -> int:
    """The same, for one of PyTorch's generators: 63 bits, which ``manual_seed`` takes without a sign."""
    return int(stream(entropy, purpose).generate_state(1, np.uint64)[0] >> np.uint64(1))
