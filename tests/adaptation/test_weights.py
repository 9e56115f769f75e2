from __future__ import annotations

import pytest
import torch
from torch import nn

from l2o_env.adaptation.weights import load_weights, weights_of


class _Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 3)
        self.network = nn.Sequential(nn.BatchNorm1d(2), self.head)


def test_each_tensor_has_one_name() -> None:
    network, other = _Shared(), _Shared()
    weights = {name: tensor.clone() for name, tensor in weights_of(network).items()}
    assert [name for name in weights if "weight" in name] == ["head.weight", "network.0.weight"]
    assert "network.0.running_mean" in weights
    load_weights(other, weights)
    assert torch.equal(other.network[1].weight, network.head.weight)  # type: ignore[union-attr,arg-type]


def test_weights_of_another_network_are_told() -> None:
    weights = weights_of(_Shared())
    with pytest.raises(ValueError, match=r"they differ in head\.bias"):
        load_weights(_Shared(), {name: tensor for name, tensor in weights.items() if name != "head.bias"})
    with pytest.raises(ValueError, match=r"they differ in head\.weight"):
        load_weights(_Shared(), {**weights, "head.weight": torch.zeros(4, 2)})
