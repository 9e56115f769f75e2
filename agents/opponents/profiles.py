"""Profiles: factors of a rate over the layer groups, from the input to the head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ProfileName = Literal["uniform", "tenth_backbone", "small_backbone", "discriminative", "head_only"]


def _backbone(factor: float) -> Callable[[int], NDArray[np.float64]]:
    return lambda n_layers: np.array([factor] * (n_layers - 1) + [1.0])


PROFILES: dict[ProfileName, Callable[[int], NDArray[np.float64]]] = {
    "uniform": np.ones,
    "tenth_backbone": _backbone(0.1),
    "small_backbone": _backbone(0.03),
    "discriminative": lambda n_layers: 2.6 ** np.arange(1.0 - n_layers, 1.0),
    "head_only": _backbone(0.0),
}
"""Profiles by name: number of layer groups to factors ``(n_layers,)``. A tenth in the backbone is ASG's recipe,
`discriminative` ULMFiT's (Howard & Ruder, 2018: divided by 2.6 from each group to the one below)."""
