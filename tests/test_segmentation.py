"""Segmentation networks: FCN-8s on VGG-16 and torchvision's, their proxies and layer groups."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torchvision import models

from l2o_env.models.backbone import NetworkConfig
from l2o_env.models.base import check_layer_groups, new_generator
from l2o_env.models.building import builder
from l2o_env.models.fcn8s import FCN8s, FCN8sProxy, from_vgg
from l2o_env.models.segmentation import prepare_dense
from l2o_env.models.weights import load_weights
from l2o_env.statistics import Layout

WIDTH = 1 / 64


def _vgg() -> nn.Module:
    """A narrow VGG-16 as torchvision builds it: seven classes of images of 224 pixels."""

    class VGG(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            c = [1, 2, 4, 8, 8]
            stages = [[c[0]] * 2, [c[1]] * 2, [c[2]] * 3, [c[3]] * 3, [c[4]] * 3]
            self.features = models.vgg.make_layers([x for stage in stages for x in [*stage, "M"]])
            self.classifier = nn.Sequential(
                nn.Linear(8 * 49, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(),
                nn.Linear(64, 7),
            )  # fmt: skip

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.classifier(self.features(x).flatten(1))

    return builder(VGG)().eval()


def test_the_proxy_of_fcn8s_is_vgg_at_every_place() -> None:
    vgg = _vgg()
    proxy = FCN8sProxy(7, WIDTH)
    load_weights(proxy, from_vgg(vgg.state_dict()), "VGG")
    image = torch.randn(1, 3, 224, 224, generator=new_generator(0))
    with torch.no_grad():
        found = proxy(image)
        assert found.shape == (1, 7, 7, 7)
        torch.testing.assert_close(found[:, :, 3, 3], vgg(image))


def test_published_fcn8s_has_the_published_size() -> None:
    with torch.device("meta"):
        model = FCN8s(FCN8sProxy(1000), 21, pretrained=False)
    trunk = sum(p.numel() for name, p in model.named_parameters() if name.startswith(("conv", "fc")))
    with torch.device("meta"):
        vgg = models.vgg16()
    assert trunk + 4096 * 1000 + 1000 == sum(p.numel() for p in vgg.parameters())
    head = {name: tuple(p.shape) for name, p in model.named_parameters() if name.startswith(("score", "up"))}
    assert head["score_fc7.weight"] == (21, 4096, 1, 1)
    assert head["up8.weight"] == (21, 21, 16, 16)
    layout = Layout.of(model)
    assert (layout.group_names[5:], layout.head_weight) == (("fc", "head"), "score_fc7.weight")


def test_enlargement_begins_as_bilinear_interpolation() -> None:
    model = FCN8s(FCN8sProxy(7, WIDTH), 3, WIDTH)
    x = torch.randn(1, 3, 5, 6, generator=new_generator(0))
    for layer, factor in ((model.up2, 2), (model.up8, 8)):
        expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
        inner = (..., slice(factor, -factor), slice(factor, -factor))
        torch.testing.assert_close(layer(x)[inner], expected[inner])


def test_fcn8s_answers_for_every_pixel_of_any_size() -> None:
    generator = new_generator(0)
    proxy = FCN8sProxy(7, WIDTH).requires_grad_(False)
    model = FCN8s(proxy, 5, WIDTH)
    check_layer_groups(model)
    for size in ((64, 64), (33, 50), (7, 100)):
        images = torch.randn(2, 3, *size, generator=generator)
        logits, proxy_logits = model(images)
        assert logits.shape == (2, 5, *size)
        torch.testing.assert_close(proxy_logits, proxy(images))
    logits.sum().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if p.requires_grad)
    # The skips count for nothing before they are trained, and pool3 then adds detail at 1/8 of the resolution.
    images = torch.randn(1, 3, 64, 64, generator=generator)
    before = model(images)[0]
    with torch.no_grad():
        model.score_pool3.bias.fill_(1.0)
    assert ((model(images)[0] - before)[..., 8:-8, 8:-8] - 1).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("name", "below", "groups"),
    [
        ("lraspp_mobilenet_v3_large", "mobilenet_v3_large", 10),
        ("fcn_resnet50", "resnet50", 6),
        ("deeplabv3_resnet50", "resnet50", 6),
    ],
)
def test_torchvision_networks_carry_the_classifiers_head(tmp_path: Path, name: str, below: str, groups: int) -> None:
    network = builder(below)(num_classes=9).eval()
    torch.save(network.state_dict(), tmp_path / "w.pt")
    found = prepare_dense(NetworkConfig(name, tmp_path / "w.pt"))
    assert found.n_proxy_classes == 9
    state = torch.get_rng_state()
    model = found.make_model(4, new_generator(0))
    assert torch.equal(torch.get_rng_state(), state)
    check_layer_groups(model)
    assert len(model.layer_groups()) == groups + 1
    images = torch.randn(1, 3, 64, 48, generator=new_generator(1))
    with torch.no_grad():
        logits, proxy_logits = model(images)
        assert logits.shape == (1, 4, 64, 48)
        assert torch.equal(proxy_logits, found.proxy(images))
        if below == "resnet50":  # the mean over places of a linear head is the head of the mean
            features = model.backbone(images)["out"].mean((-2, -1))
            torch.testing.assert_close(proxy_logits.mean((-2, -1)), network.fc(features), atol=1e-4, rtol=1e-4)
            assert list(model.layer_groups())[:2] == ["conv1", "bn1"]
    random = found.make_random_model(4, new_generator(0))
    first = next(iter(model.backbone.parameters()))
    assert not torch.equal(first, next(iter(random.backbone.parameters())))
