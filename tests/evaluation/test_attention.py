"""Attention: Grad-CAM against its formula, the share on the object."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from l2o_env.errors import ConfigError
from l2o_env.evaluation.attention import deepest_map, look, share_on_object
from l2o_env.models.base import new_generator
from tests.tiny import TinyNet, tiny_pair

PAIR = tiny_pair()


def test_grad_cam_is_that_of_its_formula() -> None:
    model = TinyNet(new_generator(0)).eval()
    images = PAIR.train.images[:5]
    found = look(model, images)
    kept = []
    handle = model.layer1.register_forward_hook(lambda module, inputs, output: kept.append(output))
    logits = model(images)[0]
    handle.remove()
    np.testing.assert_array_equal(found.predicted, logits.argmax(-1).numpy())
    (gradient,) = torch.autograd.grad(logits.amax(-1).sum(), kept[0])
    cam = (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1).clamp(min=0).detach()
    large = torch.nn.functional.interpolate(cam[:, None], (8, 8), mode="bilinear")[:, 0].double()
    total = large.sum((1, 2), keepdim=True)
    np.testing.assert_allclose(found.maps, (large / total.clamp(min=1e-12)).numpy(), rtol=1e-4, atol=1e-7)
    assert found.maps.shape == (5, 8, 8)


def test_the_deepest_layer_with_enough_places_is_read() -> None:
    model = TinyNet(new_generator(0), n_convolutions=2)
    assert deepest_map(model, torch.zeros(1, 3, 8, 8)) == "layer2"
    assert deepest_map(model, torch.zeros(1, 3, 4, 4)) == "layer1_norm"  # 2 x 2: the network's own choice
    with pytest.raises(ConfigError, match="Unknown layer 'layer9'"):
        look(model, PAIR.train.images[:1], "layer9")
    with pytest.raises(ConfigError, match="is no feature map"):
        look(model, PAIR.train.images[:1], "head")


def test_share_on_the_object_by_hand() -> None:
    maps = np.zeros((3, 2, 2))
    maps[0] = [[0.5, 0.1], [0.2, 0.2]]
    maps[1] = [[0.0, 1.0], [0.0, 0.0]]
    masks = np.zeros((3, 2, 2), bool)
    masks[:, 0, 0] = True
    masks[0, 1, 1] = True
    assert share_on_object(maps, masks) == pytest.approx((0.7 + 0.0) / 2)  # the third has no attention at all
    assert np.isnan(share_on_object(np.zeros((1, 2, 2)), masks[:1]))


def test_a_network_without_a_named_map_lists_modules_that_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TinyNet, "feature_layer", None)
    model = TinyNet(new_generator(0))
    with pytest.raises(
        ConfigError, match=r"names no feature map .* name a layer \(--layer\), one of stem, stem_norm, layer1, layer1_n"
    ):
        deepest_map(model, torch.zeros(1, 3, 4, 4))
    with pytest.raises(ConfigError, match="no module of it makes one"):
        deepest_map(model, torch.zeros(1, 3, 2, 2))


def test_a_look_at_some_of_the_images() -> None:
    images = PAIR.train.images[:5]
    everything = look(TinyNet(new_generator(0)).eval(), images)
    some = everything.of([3, 1])
    np.testing.assert_array_equal(some.maps, everything.maps[[3, 1]])
    np.testing.assert_array_equal(some.predicted, everything.predicted[[3, 1]])
    assert some.layer == everything.layer
