"""Segmentation networks with settings of one's own, and those that do not fit."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torchvision import models

from l2o_env import ConfigError
from l2o_env.guidance.base import feature_map
from l2o_env.models.adapted.backbone import HIDDEN
from l2o_env.models.adapted.by_name import builder
from l2o_env.models.adapted.fcn8s import FCN8sProxy
from l2o_env.models.adapted.folded_norms import unfold_norms
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.adapted.prepare_dense import prepare_dense
from l2o_env.models.base import check_layer_groups, new_generator
from tests.image_trees import MicroSegNet, save_weights, two_groups

WIDTH = 1 / 64


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
            of_proxy = found.proxy(images)
            torch.testing.assert_close(of_proxy, expected)
            assert torch.equal(unfold_norms(deepcopy(found.proxy))(images), expected)
            logits, proxy_logits = model(images)
            assert torch.equal(proxy_logits, of_proxy)
            features = feature_map(model, images)
            torch.testing.assert_close(features, own.body(own.stem(images)))
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
