from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from l2o_env.adaptation import TargetOracle
from l2o_env.errors import ConfigError
from l2o_env.models.losses import IGNORED
from l2o_env.pairs.splits import Split
from tests.adaptation.made import CPU
from tests.tiny import tiny_pair

LABELS = torch.tensor([0, 0, 0, 1, 2])
SAID = torch.tensor([0, 0, 1, 1, 1])


def _oracle(metric: str) -> TargetOracle:
    pair = tiny_pair()
    return TargetOracle(replace(pair, target=Split(torch.zeros(5, 3, 8, 8), LABELS), metric=metric), CPU)  # type: ignore[arg-type]


def test_accuracy_is_the_pairs_metric() -> None:
    said = F.one_hot(SAID, 3).float()
    assert _oracle("accuracy").accuracy(said) == pytest.approx(3 / 5)
    assert _oracle("mean_class_accuracy").accuracy(said) == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_pseudo_labels_count_where_there_are_any() -> None:
    oracle = _oracle("accuracy")
    assert oracle.pseudo_accuracy(torch.tensor([0, 1, IGNORED, 1, IGNORED])) == pytest.approx(2 / 3)
    assert math.isnan(oracle.pseudo_accuracy(torch.full((5,), IGNORED)))


def test_without_target_images_it_is_told() -> None:
    with pytest.raises(ConfigError, match="has no labelled target images"):
        TargetOracle(replace(tiny_pair(), target=None), CPU)
