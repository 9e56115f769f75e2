"""Segmentation networks: FCN-8s on VGG-16 and torchvision's, their proxies and layer groups."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torchvision import models

from l2o_env import ConfigError
from l2o_env.guidance.base import feature_map
from l2o_env.models.adapted.backbone import HIDDEN, batch_norms
from l2o_env.models.adapted.by_name import builder
from l2o_env.models.adapted.fcn8s import FCN8s, FCN8sProxy, from_vgg
from l2o_env.models.adapted.network_config import BatchNormMode, NetworkConfig
from l2o_env.models.adapted.prepare_dense import prepare_dense
from l2o_env.models.adapted.weights import load_weights
from l2o_env.models.base import check_layer_groups, new_generator
from l2o_env.models.layout import Layout
from tests.image_trees import MicroSegNet, save_weights, two_groups

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
        assert torch.equal(feature_map(model, images), model.backbone(images)["out" if below == "resnet50" else "high"])
        if below == "resnet50":  # the mean over places of a linear head is the head of the mean
            features = model.backbone(images)["out"].mean((-2, -1))
            torch.testing.assert_close(proxy_logits.mean((-2, -1)), network.fc(features), atol=1e-4, rtol=1e-4)
            assert list(model.layer_groups())[:2] == ["conv1", "bn1"]
    random = found.make_random_model(4, new_generator(0))
    assert random.trains_batch_statistics and not model.trains_batch_statistics
    first = next(iter(model.backbone.parameters()))
    assert not torch.equal(first, next(iter(random.backbone.parameters())))


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "fcn_resnet50", "lraspp_mobilenet_v3_large"])
def test_a_new_head_has_no_statistics_to_freeze(name: str) -> None:
    weights = builder(name.split("_", 1)[1])(num_classes=3).state_dict()
    frozen, trained = (
        prepare_dense(NetworkConfig(name, weights, batchnorm=mode)).make_model(4, new_generator(0))
        for mode in get_args(BatchNormMode)
    )
    assert not list(frozen.head.buffers())
    assert len(batch_norms(frozen.backbone)) == len(batch_norms(trained.backbone)) > 0
    assert frozen.layer_groups() == trained.layer_groups()
    for mine, theirs in zip(frozen.head.parameters(), trained.head.parameters(), strict=True):
        assert torch.equal(mine, theirs)  # the same draw, whatever normalises
    images = torch.randn(4, 3, 64, 64, generator=new_generator(1))
    with torch.no_grad():
        logits = frozen(images)[0]
        frozen.train_batch_statistics(True)
        torch.testing.assert_close(frozen(images[:1])[0], logits[:1], atol=1e-4, rtol=1e-4)  # alone or in a batch
        trained.train_batch_statistics(True)
        for part in batch_norms(trained.backbone):
            part.eval()
        assert 0.8 < logits.std() / trained(images)[0].std() < 1.25  # as large as with statistics of the batch


@pytest.mark.parametrize(("name", "smallest"), [("deeplabv3_mobilenet_v3_large", 2), ("lraspp_mobilenet_v3_large", 1)])
def test_batch_statistics_of_pooled_features_need_two_images(name: str, smallest: int) -> None:
    weights = builder(name.split("_", 1)[1])(num_classes=3).state_dict()
    for mode, expected in (("trained", smallest), ("frozen", 1)):
        config = NetworkConfig(name, weights, batchnorm=mode)  # type: ignore[arg-type]
        model = prepare_dense(config).make_model(4, new_generator(0))
        assert model.smallest_batch == expected
        model.train_batch_statistics(True)
        assert model(torch.zeros(expected, 3, 32, 32))[0].isfinite().all()


class Plain(MicroSegNet):
    """Logits as its 3x3 head makes them, at half of the resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(8, 5, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Logits ``(batch, 5, h / 2, w / 2)``."""
        return self.classifier(self.body(self.stem(images)))


@pytest.mark.parametrize("kind", [MicroSegNet, Plain])
def test_ones_own_network_keeps_its_logits_beside_a_new_head(tmp_path: Path, kind: type[MicroSegNet]) -> None:
    own = kind()
    weights = save_weights(tmp_path / "w.pt", own)
    own.load_state_dict(torch.load(weights, weights_only=True))
    own.eval()
    found = prepare_dense(NetworkConfig(kind, weights), side=16)
    model = found.make_model(3, new_generator(0))
    assert found.n_proxy_classes == 5
    check_layer_groups(model)
    assert [tuple(p.shape) for p in model.head.parameters()] == [(HIDDEN, 8, 1, 1), (HIDDEN,), (3, HIDDEN, 1, 1), (3,)]
    for size in ((16, 16), (13, 22)):
        images = torch.randn(2, 3, *size, generator=new_generator(0))
        with torch.no_grad():
            expected = own(images)["out"] if kind is MicroSegNet else own(images)
            assert torch.equal(found.proxy(images), expected)
            logits, proxy_logits = model(images)
            assert torch.equal(proxy_logits, expected)
            features = own.body(own.stem(images))
            assert torch.equal(feature_map(model, images), features)
            enlarged = F.interpolate(model.head(features), size, mode="bilinear", align_corners=False)
            assert torch.equal(logits, enlarged)
    random = found.make_random_model(3, new_generator(0))
    assert torch.equal(random.proxy_head.weight, model.proxy_head.weight)
    assert not torch.equal(random.network.stem[0].weight, model.network.stem[0].weight)


def test_all_of_it_is_trained_but_the_proxys_head(tmp_path: Path) -> None:
    weights = save_weights(tmp_path / "w.pt", MicroSegNet())
    found = prepare_dense(NetworkConfig(MicroSegNet, weights))
    model = found.make_model(3, new_generator(0))
    before = deepcopy(dict(model.named_parameters()))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    logits, proxy_logits = model(torch.randn(2, 3, 16, 16, generator=new_generator(0)))
    (logits.square().mean() + proxy_logits.square().mean()).backward()
    optimizer.step()
    same = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    assert same == {"proxy_head.weight", "proxy_head.bias"}
    assert not model.trains_batch_statistics
    trained = prepare_dense(NetworkConfig(MicroSegNet, weights, batchnorm="trained"))
    model = trained.make_model(3, new_generator(0))
    statistics = model.network.stem[1].running_mean.clone()
    model.train_batch_statistics(True)
    model(torch.randn(2, 3, 16, 16, generator=new_generator(0)))
    assert not torch.equal(model.network.stem[1].running_mean, statistics)


def test_layer_groups_are_named_in_any_way(tmp_path: Path) -> None:
    weights = save_weights(tmp_path / "w.pt", MicroSegNet())

    def groups(setting: object, **settings: object) -> list[str]:
        given: dict = {"backbone": MicroSegNet, "weights": weights, "groups": setting, **settings}
        return list(prepare_dense(NetworkConfig(**given)).make_model(2, new_generator(0)).layer_groups())

    file = f"{Path(__file__).parents[2]}/image_trees.py:two_groups"
    for setting in (two_groups, file, two_groups(MicroSegNet())):
        assert groups(setting) == ["early", "late", "head"]
    assert groups(None) == ["stem.0", "stem.1", "body.0", "body.1", "head"]
    with pytest.raises(ConfigError, match=r"in no layer group: body\.0\.weight"):
        groups({"early": ["stem"]})
    below = builder("mobilenet_v3_large")(num_classes=3).state_dict()
    network = {"backbone": "lraspp_mobilenet_v3_large", "weights": below}
    assert groups(lambda network: {"all": [name for name, _ in network.named_children()]}, **network) == ["all", "head"]


def _fcn8s(**settings: object) -> NetworkConfig:
    state = FCN8sProxy(7, WIDTH).state_dict()
    return NetworkConfig("fcn8s", state, **settings)  # type: ignore[arg-type]


def test_fcn8s_takes_groups_and_a_feature_layer() -> None:
    groups = {"early": ["conv1", "conv2", "conv3"], "late": ["conv4", "conv5", "fc6", "fc7"]}
    model = prepare_dense(_fcn8s(groups=groups, feature_layer="conv5"), WIDTH).make_model(3, new_generator(0))
    check_layer_groups(model)
    assert list(model.layer_groups()) == ["early", "late", "head"]
    images = torch.randn(1, 3, 64, 64, generator=new_generator(0))
    assert feature_map(model, images).shape == (1, 8, 2, 2)
    model = prepare_dense(_fcn8s(), WIDTH).make_model(3, new_generator(0))
    assert feature_map(model, images).shape == (1, 64, 2, 2)
    assert torch.equal(model.proxy_head(feature_map(model, images)), model(images)[1])


def test_torchvisions_own_head_may_be_the_proxys() -> None:
    build = partial(models.segmentation.deeplabv3_mobilenet_v3_large, weights_backbone=None, aux_loss=True)
    network = builder(build)().eval()
    assert network.aux_classifier is None
    found = prepare_dense(NetworkConfig(build, build().state_dict()), side=32)
    model = found.make_model(4, new_generator(0))
    check_layer_groups(model)
    assert (found.n_proxy_classes, model.proxy_head.in_channels) == (21, 256)
    with torch.no_grad():
        assert [x.shape for x in model(torch.zeros(1, 3, 32, 40))] == [(1, 4, 32, 40), (1, 21, 32, 40)]


@pytest.mark.parametrize(
    ("config", "width", "told"),
    [
        (
            _fcn8s(head="fc7"),
            WIDTH,
            "head is 'fc7', but the proxy's head of fcn8s is that of the classification network",
        ),
        (NetworkConfig("fcn_resnet50", {}), 0.5, "width is 0.5, which is for the backbone 'fcn8s' alone"),
        (NetworkConfig(MicroSegNet, {}), 0.5, "width is 0.5, which is for the backbone 'fcn8s' alone"),
        (NetworkConfig(MicroSegNet, "DEFAULT"), 1.0, "'DEFAULT', which is for networks of torchvision"),
        (
            NetworkConfig(MicroSegNet, {}),
            1.0,
            "The weights of the proxy that was trained do not fit MicroSegNet: 14 missing",
        ),
        (NetworkConfig(nn.ReLU, {}), 1.0, "ReLU has no head"),
        (_fcn8s(feature_layer="conv6"), WIDTH, "Unknown feature_layer of FCN8sProxy: 'conv6'"),
        (_fcn8s(groups={"early": ["conv1"]}), WIDTH, r"of FCN8sProxy are in no layer group: conv2\.0\.weight"),
    ],
)
def test_settings_that_do_not_fit_are_told(config: NetworkConfig, width: float, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        prepare_dense(config, width, 16)
