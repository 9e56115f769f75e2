"""A classification network as an optimizee."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch
from torch.nn import functional as F  # noqa: N812
from torchvision import models

from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.adapted.prepare import prepare
from l2o_env.models.base import new_generator
from tests.image_trees import MicroNet, save_weights


def test_squeezenet_takes_the_mean_of_what_its_convolution_reads() -> None:
    weights = models.squeezenet1_1(num_classes=7).state_dict()
    model = prepare(NetworkConfig("squeezenet1_1", weights)).make_model(3, new_generator(0))
    images = torch.randn(2, 3, 64, 64, generator=new_generator(0))
    with torch.no_grad():
        features = model.network.features(images)
        torch.testing.assert_close(model(images)[0], model.head(features.mean((-2, -1))))
        scores = F.conv2d(features, weights["classifier.1.weight"], weights["classifier.1.bias"])
        torch.testing.assert_close(model(images)[1], scores.relu().mean((-2, -1)))


def test_training_an_optimizee_leaves_the_proxy_as_it_is(tmp_path: Path) -> None:
    found = prepare(NetworkConfig(MicroNet, save_weights(tmp_path / "w.pt")))
    before = deepcopy(found.proxy.state_dict())
    model = found.make_model(3, new_generator(0))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), found.proxy.state_dict().values(), strict=True))
