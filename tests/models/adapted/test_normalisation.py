"""What networks' weights expect of colours."""

from __future__ import annotations

import sys

import pytest

from l2o_env.models.adapted.normalisation import IMAGENET, normalisation_of
from tests.image_trees import MicroNet


@pytest.mark.parametrize("name", ["resnet18", "inception_v3", "vit_b_16", "fcn8s"])
def test_torchvisions_are_imagenets(name: str) -> None:
    assert normalisation_of(name) == IMAGENET == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_efficientnet_lite_has_its_own() -> None:
    known = normalisation_of("efficientnet_lite0")
    expected = [(x - 127) / 128 for x in (0, 127, 255)]
    assert [(x / 255 - known.mean[0]) / known.std[0] for x in (0, 127, 255)] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("own", [MicroNet, "net.py:Net", "tests.image_trees:MicroNet"])
def test_of_ones_own_network_nothing_is_known(own: object) -> None:
    assert normalisation_of(own) == IMAGENET  # type: ignore[arg-type]


def test_timm_says_it_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    assert normalisation_of("vit_tiny_patch16_224") == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    monkeypatch.setitem(sys.modules, "timm", None)
    assert normalisation_of("vit_tiny_patch16_224") == IMAGENET  # that it lacks is told when the network is made
