"""Any classification network as an optimizee: heads, layer groups, weights."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torchvision import models

from l2o_env import ConfigError
from l2o_env.guidance.base import feature_map
from l2o_env.models.adapted.by_name import builder, local_seed
from l2o_env.models.adapted.groups import choose_groups, find_groups
from l2o_env.models.adapted.heads import find_head
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.adapted.prepare import prepare
from l2o_env.models.adapted.weights import read_weights
from l2o_env.models.base import check_layer_groups, new_generator
from tests.image_trees import MicroNet, save_weights


def _bare(name: str) -> nn.Module:
    with torch.device("meta"):
        network = models.get_model(name, weights=None)
    network.set_submodule(find_head(network), nn.Identity())
    return network


@pytest.mark.parametrize(
    ("name", "groups", "weights"),
    [
        ("resnet18", "conv1 bn1 layer1 layer2 layer3 layer4", 11_176_512),
        ("resnet101", "conv1 bn1 layer1 layer2 layer3 layer4", 42_500_160),
        ("vgg16", "conv1 conv2 conv3 conv4 conv5 fc", 134_260_544),
        ("convnext_tiny", "stem stage1 stage2 stage3 stage4", 27_820_128),
        ("swin_t", "stem stage1 stage2 stage3 stage4", 27_519_354),
        ("vit_b_16", "embedding blocks1 blocks2 blocks3 blocks4", 85_798_656),
        ("efficientnet_b0", "stem stage1 stage2 stage3 stage4 stage5 stage6 stage7 stage8", 4_007_548),
        ("mobilenet_v3_small", " ".join(f"stage{k}" for k in range(1, 11)), 1_517_856),
    ],
)
def test_groups_are_found(name: str, groups: str, weights: int) -> None:
    network = _bare(name)
    found = find_groups(network)
    assert " ".join(found) == groups
    params = dict(network.named_parameters())
    assert sorted(n for names in found.values() for n in names) == sorted(params)
    assert sum(p.numel() for p in params.values()) == weights
    if name == "vgg16":
        assert found["conv2"] == [f"features.{k}.{part}" for k in (5, 7) for part in ("weight", "bias")]
        assert found["fc"][0] == "classifier.0.weight"
    if name == "swin_t":
        assert "features.2.reduction.weight" in found["stage2"]
        assert found["stage4"][-1] == "norm.bias"
    if name == "vit_b_16":
        assert {n.split(".")[2] for n in found["blocks2"]} == {f"encoder_layer_{k}" for k in (3, 4, 5)}
        assert found["blocks4"][-1] == "encoder.ln.bias"


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
        assert torch.equal(found.proxy(images), expected)
        logits, proxy_logits = model(images)
        assert torch.equal(proxy_logits, expected)
        assert feature_map(model, images).shape[1:] == features
    assert (logits.shape, found.n_proxy_classes) == ((2, 3), 7)


def test_squeezenet_takes_the_mean_of_what_its_convolution_reads() -> None:
    weights = models.squeezenet1_1(num_classes=7).state_dict()
    model = prepare(NetworkConfig("squeezenet1_1", weights)).make_model(3, new_generator(0))
    images = torch.randn(2, 3, 64, 64, generator=new_generator(0))
    with torch.no_grad():
        features = model.network.features(images)
        torch.testing.assert_close(model(images)[0], model.head(features.mean((-2, -1))))
        scores = F.conv2d(features, weights["classifier.1.weight"], weights["classifier.1.bias"])
        torch.testing.assert_close(model(images)[1], scores.relu().mean((-2, -1)))


def test_images_of_a_size_that_it_cannot_take_are_told() -> None:
    build = partial(_vit, 7)
    with pytest.raises(ConfigError, match=r"VisionTransformer cannot take images of 16 x 16 pixels .* another size"):
        prepare(NetworkConfig(build, build().state_dict()), 16)


class Named(MicroNet):
    """Names its last feature map and, in `wrong`, a group as that of the new head."""

    wrong = False

    def feature_layer(self) -> str:
        """The stem's output, for once."""
        return "stem"

    def layer_groups(self) -> dict[str, list[str]]:
        """Two groups."""
        return {"stem": ["stem"], "head" if self.wrong else "body": ["body"]}


def test_a_network_or_a_setting_names_the_feature_map(tmp_path: Path) -> None:
    weights = save_weights(tmp_path / "w.pt")

    def layer(kind: type[nn.Module], setting: str = "") -> str | None:
        return (
            prepare(NetworkConfig(kind, weights, feature_layer=setting)).make_model(3, new_generator(0)).feature_layer
        )

    assert layer(MicroNet) is None
    found = prepare(NetworkConfig(MicroNet, weights), 12).make_model(3, new_generator(0))
    assert found.feature_layer == "network.body"  # a forward pass tells
    assert layer(MicroNet, "body") == "network.body"
    assert layer(Named) == "network.stem"
    assert layer(Named, "body.2") == "network.body.2"
    with pytest.raises(ConfigError, match=r"Unknown feature_layer of MicroNet: 'boddy'\. Did you mean 'body'"):
        layer(MicroNet, "boddy")


def test_no_group_is_called_as_that_of_the_new_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = save_weights(tmp_path / "w.pt")
    assert list(prepare(NetworkConfig(Named, weights)).make_model(3, new_generator(0)).layer_groups())[1] == "body"
    monkeypatch.setattr(Named, "wrong", True)
    with pytest.raises(ConfigError, match="A layer group of Named is called 'head'"):
        prepare(NetworkConfig(Named, weights))
    network = nn.ModuleDict({name: nn.Linear(2, 2) for name in ("a", "b", "c", "head")})
    assert list(choose_groups(network)) == ["a", "b", "c", "pre_head"]


def test_an_unknown_network_is_divided_by_its_parts() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))
            blocks = [nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)) for _ in range(2)]
            self.body = nn.Sequential(*blocks)

    found = find_groups(Nested())
    assert list(found) == ["body.0.0", "body.0.2", "body.1.0", "body.1.2"]
    assert found["body.0.0"] == ["scale", "body.0.0.weight", "body.0.0.bias"]
    with pytest.raises(ConfigError, match="ReLU has no parameters but its head"):
        find_groups(nn.ReLU())


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


def test_training_an_optimizee_leaves_the_proxy_as_it_is(tmp_path: Path) -> None:
    found = prepare(NetworkConfig(MicroNet, save_weights(tmp_path / "w.pt")))
    before = deepcopy(found.proxy.state_dict())
    model = found.make_model(3, new_generator(0))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), found.proxy.state_dict().values(), strict=True))


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_checkpoints_are_unwrapped(tmp_path: Path, key: str) -> None:
    state = MicroNet().state_dict()
    torch.save({"epoch": 3, key: {f"module.{k}": v for k, v in state.items()}}, tmp_path / "w.pth")
    found = read_weights(tmp_path / "w.pth")
    assert list(found) == list(state)
    assert torch.equal(found["fc.weight"], state["fc.weight"])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"w": torch.ones(1), "from": Path("x")}, r"it holds a pathlib\.PosixPath beside tensors, and"),
        (b"hello", "it is damaged, or no file of tensors"),
        (b"", "it is damaged, or no file of tensors"),
        ([torch.ones(1)], "holds a list; expected the state_dict of a network"),
        ({"epoch": 3}, "holds no tensors; expected the state_dict of a network"),
    ],
)  # fmt: skip
def test_files_of_more_or_less_than_tensors_are_refused(tmp_path: Path, content: Any, told: str) -> None:
    file = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(ConfigError, match=told) as caught:
        read_weights(file)
    assert "\x1b" not in str(caught.value) and "weights_only" not in str(caught.value)


def test_without_network_the_error_says_which_file_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    asked: list[tuple[str, str, str]] = []

    def no_network(url: str, path: str, prefix: str, progress: bool) -> None:
        asked.append((url, path, prefix))
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    url = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    with pytest.raises(ConfigError) as told:
        prepare(NetworkConfig("resnet18"))
    assert f"Download {url} elsewhere and put it at {tmp_path}/checkpoints/resnet18-f37072fd.pth" in str(told.value)
    assert "or give weights=FILE" in str(told.value)
    assert asked == [(url, f"{tmp_path}/checkpoints/resnet18-f37072fd.pth", "f37072fd")]
    # Put there, it is taken, without a download.
    torch.save(builder("resnet18")(num_classes=1000).state_dict(), tmp_path / "checkpoints" / "resnet18-f37072fd.pth")
    assert prepare(NetworkConfig("resnet18")).n_proxy_classes == 1000
