"""A fine-tuned network by itself makes of images what the optimizee made of them."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import resnet18, squeezenet1_1

from l2o_env import pairs
from l2o_env.models.adapted.export import TaskLogits, plain_network
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.adapted.prepare import prepare
from l2o_env.models.base import new_generator


def test_the_head_is_in_the_place_of_the_proxys() -> None:
    with torch.random.fork_rng():
        weights = resnet18().state_dict()
    model = prepare(NetworkConfig("resnet18", weights)).make_model(3, new_generator(0))
    images = torch.randn(2, 3, 32, 32, generator=new_generator(1))
    network, head = plain_network(model, images)
    assert head == "fc"
    with torch.no_grad():
        torch.testing.assert_close(network(images), model(images)[0])
    plain = resnet18()
    plain.fc = network.fc  # type: ignore[assignment]
    plain.load_state_dict(network.state_dict())


@pytest.mark.parametrize("name", ["squeezenet", "tiny"])
def test_where_it_cannot_be_the_optimizee_itself_has_one_output(name: str, tiny: str) -> None:
    images = torch.randn(2, 3, 64, 64, generator=new_generator(1))
    if name == "tiny":
        model = pairs.make(tiny).make_model(new_generator(0))
    else:
        with torch.random.fork_rng():
            weights = squeezenet1_1().state_dict()
        model = prepare(NetworkConfig("squeezenet1_1", weights)).make_model(3, new_generator(0))
    network, head = plain_network(model, images)
    assert isinstance(network, TaskLogits)
    assert head == ""
    with torch.no_grad():
        torch.testing.assert_close(network(images), model(images)[0])
