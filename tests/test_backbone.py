"""Any classification network as an optimizee: heads, layer groups, weights."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from l2o_env import ConfigError
from l2o_env.models.backbone import NetworkConfig, prepare
from l2o_env.models.base import check_layer_groups, new_generator
from l2o_env.models.building import builder
from l2o_env.models.groups import find_groups
from l2o_env.models.heads import find_head
from l2o_env.models.weights import read_weights
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


def test_checkpoints_are_unwrapped(tmp_path: Path) -> None:
    state = MicroNet().state_dict()
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "w.pth")
    found = read_weights(tmp_path / "w.pth")
    assert list(found) == list(state)
    assert torch.equal(found["fc.weight"], state["fc.weight"])


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
