"""Layer groups of networks of any kind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from l2o_env import ConfigError
from l2o_env.models.adapted.groups import choose_groups, find_groups
from l2o_env.models.adapted.heads import find_head
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.adapted.prepare import prepare
from l2o_env.models.base import new_generator
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


class Named(MicroNet):
    """Names its layer groups and, if `wrong`, one of them as that of the new head."""

    wrong = False

    def layer_groups(self) -> dict[str, list[str]]:
        """Two groups."""
        return {"stem": ["stem"], "head" if self.wrong else "body": ["body"]}


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
