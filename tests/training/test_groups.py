"""Layer groups of any network are those of a pair's, and those of an optimizer go with them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from l2o_env import ConfigError, layer_groups, pairs, param_groups
from l2o_env.models.base import new_generator
from l2o_env.training.groups import layout_of, plain
from tests.training.loops import Net


def test_groups_are_those_of_a_pairs_networks() -> None:
    network = resnet18()
    groups = layer_groups(network)
    assert list(groups) == ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "head"]
    assert groups["head"] == ["fc.weight", "fc.bias"]
    assert sum(len(names) for names in groups.values()) == len(list(network.parameters()))
    assert isinstance(network.fc, nn.Linear)  # it was back in its place


def test_an_optimizee_names_its_own(tiny: str) -> None:
    model = pairs.make(tiny).make_model(new_generator(0))
    assert layer_groups(model) == model.layer_groups()  # the proxy's head is frozen


def test_they_are_found_under_what_is_wrapped_around_a_network() -> None:
    network = Net()
    compiled = torch.compile(network, backend="eager")
    assert plain(compiled) is network
    assert layer_groups(compiled) == layer_groups(network)


def test_own_groups_and_another_head() -> None:
    groups = layer_groups(Net(), {"all": ["first", "head"]}, head="second")
    assert groups == {
        "all": ["first.weight", "first.bias", "head.weight", "head.bias"],
        "head": ["second.weight", "second.bias"],
    }
    with pytest.raises(ConfigError, match="in no layer group"):
        layer_groups(Net(), {"all": ["first"]})


def test_what_is_frozen_is_in_none() -> None:
    network = Net()
    network.second.weight.requires_grad_(False)
    assert layer_groups(network)["second"] == ["second.bias"]
    network.second.requires_grad_(False)
    assert list(layer_groups(network)) == ["first", "head"]
    with pytest.raises(ConfigError, match="all of them are frozen"):
        layer_groups(network.requires_grad_(False))


def test_every_parameter_is_in_one_group() -> None:
    network, groups = Net(), layer_groups(Net())
    optimizer = torch.optim.SGD(param_groups(network, groups, no_decay=True), lr=0.1, weight_decay=0.3)
    decays = [(group["name"], group["weight_decay"]) for group in optimizer.param_groups[:2]]
    assert decays == [("first", 0.3), ("first/no_decay", 0.0)]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 6
    with pytest.raises(ConfigError, match=r"in two groups: head\.bias"):
        param_groups(network, {**groups, "more": ["head.bias"]})
    with pytest.raises(ConfigError, match="no trainable parameter: nothing"):
        param_groups(network, {**groups, "more": ["nothing"]})


def test_the_layout_names_the_last_matrix() -> None:
    layout = layout_of(Net(), layer_groups(Net()))
    assert layout.head_weight == "head.weight"
    assert layout.group_sizes == (56, 72, 27)
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    network[1].requires_grad_(False)
    with pytest.raises(ConfigError, match="no trainable weight matrix"):
        layout_of(network, {"norm": ["0.weight", "0.bias"]})
