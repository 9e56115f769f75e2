"""What every optimizee keeps to: each trainable parameter is in one layer group."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from l2o_env.models import Optimizee, SmallNet, check_layer_groups, new_generator
from l2o_env.models.base import resident
from tests.tiny import TinyNet


def _net(seed: int = 0) -> SmallNet:
    return SmallNet(10, 5, new_generator(seed))


@pytest.mark.parametrize("model", [_net(), TinyNet(new_generator(0))], ids=["small", "tiny"])
def test_every_trainable_parameter_is_in_one_layer_group(model: Optimizee) -> None:
    check_layer_groups(model)
    assert next(iter(model.layer_groups())) == "stem"
    assert list(model.layer_groups())[-1] == "head"
    matrices = [n for n in model.layer_groups()["head"] if model.get_parameter(n).ndim == 2]
    assert model.get_parameter(matrices[-1]).shape[0] == model(torch.zeros(1, 3, 16, 16))[0].shape[1]


def test_a_parameter_in_no_group_is_an_error() -> None:
    net = _net()
    net.extra = nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match=r"missing \['extra'\]"):
        check_layer_groups(net)


def test_a_network_is_copied_only_where_it_is_not_as_it_should_be() -> None:
    cpu, net = torch.device("cpu"), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval()
    assert resident(net, cpu, torch.float32) is net  # though the number of batches is no float
    double = resident(net, cpu, torch.float64)
    assert double is not net and double[0].weight.dtype == torch.float64
    assert net[0].weight.dtype == torch.float32
    net[1].train()
    copy = resident(net, cpu, torch.float32)
    assert copy is not net and not copy[1].training and net[1].training
