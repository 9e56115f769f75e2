"""Losses beside those of skada, where it has them."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from l2o_env.adaptation.cdan import conditioned
from l2o_env.adaptation.mcc import class_confusion
from l2o_env.adaptation.mdd import margin_disparity
from l2o_env.adaptation.reversal import domain_loss
from l2o_env.models.base import new_generator


@pytest.fixture(scope="module")
def deep() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it imports
        pytest.importorskip("skada.deep", reason="skada is for this test alone", exc_type=ImportError)
        from skada.deep import _adversarial, losses

        return {"losses": losses, "adversarial": _adversarial}


def _drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=new_generator(sum(shape)), dtype=torch.float64)


def test_class_confusion(deep: Any) -> None:
    logits = 3 * _drawn(40, 5)
    theirs = deep["losses"].mcc_loss(logits, T=2.5, eps=0.0)
    torch.testing.assert_close(class_confusion(logits, 2.5), theirs)


def test_domain_loss(deep: Any) -> None:
    """Theirs is the sum over both domains, and 1 is the target."""
    source, target = _drawn(7, 1), _drawn(9, 1)
    theirs = deep["adversarial"].DANNLoss()((-source).sigmoid()[:, 0].float(), (-target).sigmoid()[:, 0].float())
    torch.testing.assert_close(2 * domain_loss(source, target).float(), theirs)


def test_conditioning(deep: Any) -> None:
    """As in its module: the same numbers with classes first."""
    features, p = _drawn(6, 4), _drawn(6, 3).softmax(1)
    theirs = torch.bmm(p.unsqueeze(2), features.unsqueeze(1))
    torch.testing.assert_close(conditioned(features, p).reshape(6, 4, 3), theirs.transpose(1, 2))


def test_margin_disparity(deep: Any) -> None:
    """Of one target image and without smoothing: theirs takes the classes of all images for each image."""
    loss = deep["adversarial"].MDDLoss(gamma=3.0)
    loss.disc_criterion_t.smoothing = 0.0
    source, source_adversary, target, target_adversary = _drawn(8, 4), _drawn(8, 4) * 2, _drawn(1, 4), _drawn(1, 4) * 2
    theirs = loss(source, target, source_adversary, target_adversary)
    torch.testing.assert_close(margin_disparity(source, source_adversary, target, target_adversary, 3.0), theirs)
