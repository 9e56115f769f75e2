"""FCN-8s on VGG-16."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torchvision import models

from l2o_env.models.adapted.by_name import builder
from l2o_env.models.adapted.fcn8s import FCN8s, FCN8sProxy, from_vgg
from l2o_env.models.adapted.weights import load_weights
from l2o_env.models.base import check_layer_groups, new_generator
from l2o_env.models.layout import Layout

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
    # The skips count for nothing before they are trained; then each is added once.
    images = torch.randn(1, 3, 64, 64, generator=generator)
    before = model(images)[0]
    for skip, bias, whole in ((model.score_pool3, 1.0, 1.0), (model.score_pool4, 2.0, 3.0)):
        with torch.no_grad():
            skip.bias.fill_(bias)
        assert ((model(images)[0] - before)[..., 24:-24, 24:-24] - whole).abs().max() < 1e-4
