"""Adaptations of the tiny pair."""

from __future__ import annotations

from typing import Any

import torch

from l2o_env.adaptation import METHODS, Adaptation, AdaptConfig, LabelledImages, UnlabelledImages
from l2o_env.models.base import new_generator
from l2o_env.pairs.pair import Pair
from tests.tiny import tiny_pair

CPU = torch.device("cpu")
SHORT: dict[str, Any] = {"rounds": 2, "updates": 3, "batch_size": 8, "device": "cpu", "hidden": 8, "gta_width": 8}


def adaptation(method: str, pair: Pair | None = None, seed: int = 0, **changes: Any) -> Adaptation:
    """An adaptation of a network whose head was drawn."""
    pair = pair or tiny_pair()
    return Adaptation(
        METHODS[method], pair.make_model(new_generator(1)), LabelledImages(pair.train, CPU),
        UnlabelledImages.of(pair, CPU), pair.n_classes, AdaptConfig(**{**SHORT, **changes}), seed,
    )  # fmt: skip
