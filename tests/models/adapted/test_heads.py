"""The proxy's head in networks of any kind, and what one forward pass tells of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from l2o_env import ConfigError
from l2o_env.models.adapted.heads import (
    find_head,
    head_inputs,
    n_classes_of,
    n_features,
)
from l2o_env.models.base import new_generator
from tests.image_trees import MicroNet, MicroSegNet


class Attentive(nn.Module):
    """Its attention ends with a linear layer that is never called; its head comes before that one."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.attention = nn.MultiheadAttention(4, 1)


def test_the_head_is_the_last_layer_that_can_be_one() -> None:
    assert find_head(MicroNet()) == "fc"
    assert find_head(MicroNet(), "stem.0") == "stem.0"
    assert find_head(MicroSegNet(), dense=True) == "classifier"
    assert find_head(MicroSegNet()) == "classifier"  # a 1x1 convolution, where nothing is linear
    assert find_head(Attentive()) == "head"
    for layer in (nn.Linear(4, 3), nn.Conv2d(4, 3, 5)):
        assert (n_features(layer), n_classes_of(layer)) == (4, 3)
    with pytest.raises(ConfigError, match=r"Unknown convolution of MicroNet: 'fc'\. Known: 'body\.0', 'stem\.0'"):
        find_head(MicroNet(), "fc", dense=True)
    with pytest.raises(ConfigError, match=r"Linear has no head: expected .* at every place that ends with .*Conv2d"):
        find_head(nn.Linear(2, 2), dense=True)


def test_what_goes_into_a_head_is_collected() -> None:
    network = MicroNet().eval()
    images = torch.randn(2, 3, 12, 12, generator=new_generator(0))
    with head_inputs(network.fc) as found:
        logits = network(images)
        network.fc(input=found[0])
    assert len(found) == 2
    assert torch.equal(F.linear(found[0], network.fc.weight, network.fc.bias), logits)
    network(images)
    assert len(found) == 2
