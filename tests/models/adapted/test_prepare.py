"""Networks of torchvision and one's own with a frozen and a new head."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from l2o_env import ConfigError
from l2o_env.guidance.base import feature_map
from l2o_env.models.adapted.by_name import local_seed
from l2o_env.models.adapted.folded_norms import unfold_norms
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.adapted.prepare import prepare
from l2o_env.models.base import check_layer_groups, new_generator


def _vit(num_classes: int) -> nn.Module:
    return models.VisionTransformer(32, 16, 4, 2, 8, 16, num_classes=num_classes)


def _swin(num_classes: int) -> nn.Module:
    return models.SwinTransformer([4, 4], 8, [1] * 4, [1] * 4, [2, 2], num_classes=num_classes)


def _maxvit(num_classes: int) -> nn.Module:
    return models.MaxVit((64, 64), 8, 2, [8] * 4, [1] * 4, 4, 0.0, num_classes=num_classes)


def _convnext(num_classes: int) -> nn.Module:
    stages = [models.convnext.CNBlockConfig(8, 8 if k < 4 else None, 1) for k in range(1, 5)]
    return models.ConvNeXt(stages, num_classes=num_classes)


@pytest.mark.parametrize(
    ("network", "side", "n_groups", "features"),
    [
        ("densenet121", 32, 10, (1024, 1, 1)),
        ("efficientnet_b0", 32, 9, (1280, 1, 1)),
        ("googlenet", 32, 10, (1024, 1, 1)),
        ("inception_v3", 80, 10, (2048, 1, 1)),
        ("mnasnet0_5", 32, 10, (1280, 1, 1)),
        ("mobilenet_v2", 32, 10, (1280, 1, 1)),
        ("mobilenet_v3_small", 32, 10, (576, 1, 1)),
        ("regnet_y_400mf", 32, 5, (440, 1, 1)),
        ("resnet18", 32, 6, (512, 1, 1)),
        ("shufflenet_v2_x0_5", 32, 5, (1024, 1, 1)),
        ("squeezenet1_1", 32, 9, (512, 1, 1)),
        (_convnext, 32, 5, (8, 1, 1)),
        (_maxvit, 64, 6, (8, 2, 2)),
        (_swin, 32, 5, (64, 1, 1)),
        (_vit, 32, 5, (5, 8)),
    ],
)
def test_every_family_of_torchvision_keeps_its_proxy(
    network: str | Callable[..., nn.Module], side: int, n_groups: int, features: tuple[int, ...]
) -> None:
    build = partial(network, num_classes=7) if callable(network) else network
    of_inception = {"transform_input": True, "init_weights": False, "aux_logits": False}
    others = of_inception if network in ("googlenet", "inception_v3") else {}
    with local_seed(1):
        reference = (
            build() if callable(build) else models.get_model(build, weights=None, num_classes=7, **others)
        ).eval()
    found = prepare(NetworkConfig(build, reference.state_dict()), side)
    model = found.make_model(3, new_generator(0))
    check_layer_groups(model)
    assert len(model.layer_groups()) == n_groups + 1
    images = torch.randn(2, 3, side, side, generator=new_generator(0))
    with torch.no_grad():
        expected = reference(images)
        of_proxy = found.proxy(images)
        torch.testing.assert_close(of_proxy, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
        assert torch.equal(unfold_norms(deepcopy(found.proxy))(images), expected)
        logits, proxy_logits = model(images)
        assert torch.equal(proxy_logits, of_proxy)
        assert feature_map(model, images).shape[1:] == features
    assert (logits.shape, found.n_proxy_classes) == ((2, 3), 7)


def test_images_of_a_size_that_it_cannot_take_are_told() -> None:
    build = partial(_vit, 7)
    with pytest.raises(ConfigError, match=r"VisionTransformer cannot take images of 16 x 16 pixels .* another size"):
        prepare(NetworkConfig(build, build().state_dict()), 16)


def test_a_torchvision_network_gets_a_frozen_and_a_new_head(tmp_path: Path) -> None:
    weights = models.get_model("shufflenet_v2_x0_5", weights=None, num_classes=7).state_dict()
    save_file(weights, tmp_path / "w.safetensors")
    state = torch.get_rng_state()
    found = prepare(NetworkConfig("shufflenet_v2_x0_5", tmp_path / "w.safetensors"))
    assert found.n_proxy_classes == 7
    model = found.make_model(4, new_generator(1)).eval()
    check_layer_groups(model)
    assert list(model.layer_groups())[-1] == "head"
    assert [tuple(p.shape) for p in model.head.parameters()] == [(512, 1024), (512,), (4, 512), (4,)]
    images = torch.randn(2, 3, 32, 32, generator=new_generator(0))
    with torch.no_grad():
        logits, proxy_logits = model(images)
        assert torch.equal(proxy_logits, found.proxy(images))
    assert logits.shape == (2, 4)
    assert not any(p.requires_grad for p in [*found.proxy.parameters(), *model.proxy_head.parameters()])
    same, other = found.make_model(4, new_generator(1)), found.make_model(4, new_generator(2))
    assert torch.equal(model.head[0].weight, same.head[0].weight)
    assert not torch.equal(model.head[0].weight, other.head[0].weight)
    random = found.make_random_model(4, new_generator(1))
    assert torch.equal(random.proxy_head.weight, model.proxy_head.weight)
    assert not torch.equal(random.network.conv1[0].weight, model.network.conv1[0].weight)
    again = found.make_random_model(4, new_generator(1))
    assert torch.equal(random.network.conv1[0].weight, again.network.conv1[0].weight)
    assert torch.equal(torch.get_rng_state(), state)
