"""Which module makes the last feature map."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from l2o_env import ConfigError
from l2o_env.models.adapted.feature_layers import find_feature_map
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.adapted.prepare import prepare
from l2o_env.models.base import new_generator
from tests.image_trees import MicroNet, save_weights


class Named(MicroNet):
    """Names its last feature map."""

    def feature_layer(self) -> str:
        """The stem's output, for once."""
        return "stem"


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


def test_the_last_feature_map_before_the_head_is_found() -> None:
    assert find_feature_map(MicroNet().eval(), "fc", 12) == "body"
    pooled = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    assert find_feature_map(pooled, "4", 12) == "1"  # a pooled map has one place
    assert find_feature_map(nn.Sequential(nn.Flatten(), nn.Linear(108, 2)), "1", 6) == ""
    assert find_feature_map(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1), nn.ReLU()), "1", 6) == "0"
