"""Batch normalisation that convolutions do: the same numbers, and the same network to everybody else."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from l2o_env.models.adapted.efficientnet_lite import EfficientNetLite0
from l2o_env.models.adapted.export import plain_network
from l2o_env.models.adapted.folded_norms import fold_norms, unfold_norms
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.adapted.prepare import prepare

IMAGES = torch.randn(4, 3, 48, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def with_statistics(network: nn.Module) -> nn.Module:
    """In float64, with statistics, scales and shifts as of a trained one."""
    generator = torch.Generator().manual_seed(1)
    for layer in network.double().eval().modules():
        if isinstance(layer, nn.BatchNorm2d):
            tensors = (layer.running_mean, layer.running_var, layer.weight, layer.bias)
            for tensor, low, high in zip(tensors, (-0.3, 0.5, 0.5, -1), (0.3, 2, 1.5, 1), strict=True):
                if tensor is not None:
                    tensor.data.uniform_(low, high, generator=generator)
    return network


def folded(network: nn.Module, *apart: str) -> nn.Module:
    """A copy with what can be folded."""
    network = deepcopy(network)
    fold_norms(network, *apart)
    return network


def gradients(network: nn.Module, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Its output, and the gradient of something that depends on all of it."""
    network.zero_grad()
    output = network(images)
    output.sin().sum().backward()
    return output.detach(), {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def n_folded(network: nn.Module) -> tuple[int, int]:
    """Layers of normalisation that convolutions do, and all of them."""
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    return sum(type(layer) is not nn.BatchNorm2d for layer in norms), len(norms)


@pytest.mark.parametrize(
    ("build", "n"),
    [(models.resnet18, 20), (models.mobilenet_v3_small, 34), (EfficientNetLite0, 49)],
)
def test_outputs_and_gradients_are_those_of_the_plain_network(build: Callable[..., Any], n: int) -> None:
    plain = with_statistics(build(num_classes=5))
    ours = folded(plain)
    assert n_folded(ours) == (n, n)
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in plain.named_parameters()]
    (expected, of_plain), (output, of_ours) = gradients(plain, IMAGES), gradients(ours, IMAGES)
    assert torch.allclose(output, expected, rtol=1e-9)
    assert of_plain.keys() == of_ours.keys()
    for name, gradient in of_plain.items():
        assert torch.allclose(of_ours[name], gradient, rtol=1e-6, atol=1e-8 * float(gradient.abs().max())), name
    unfold_norms(ours)
    assert n_folded(ours) == (0, n) and torch.equal(ours(IMAGES), expected)


@pytest.mark.parametrize("settings", [{}, {"bias": True}, {"padding_mode": "reflect"}, {"stride": 2, "groups": 2}])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("side", [8, 1])
def test_any_convolution(settings: dict[str, Any], affine: bool, side: int) -> None:
    convolution = nn.Conv2d(4, 6, 3, padding=1 if side > 1 or "padding_mode" not in settings else 0, **settings)
    if side == 1 and "padding_mode" in settings:
        pytest.skip("one pixel cannot be reflected")
    plain = with_statistics(nn.Sequential(convolution, nn.BatchNorm2d(6, affine=affine)))
    images = torch.randn(2, 4, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (expected, of_plain), (output, of_ours) = gradients(plain, images), gradients(folded(plain), images)
    assert torch.allclose(output, expected, rtol=1e-9)
    assert all(torch.allclose(of_ours[name], gradient, rtol=1e-9) for name, gradient in of_plain.items())


def test_copies_are_networks_of_their_own() -> None:
    ours = folded(with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))))
    before, other = ours(IMAGES), deepcopy(ours)
    other[1].bias.data += 1  # type: ignore[index]
    assert torch.allclose(other(IMAGES), before + 1) and torch.equal(ours(IMAGES), before)


def test_statistics_can_be_trained_all_the_same() -> None:
    plain = with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    ours = folded(plain)
    for network in (plain, ours):
        network[1].train()  # type: ignore[index]
    assert torch.equal(ours(IMAGES), plain(IMAGES))
    assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), plain.buffers(), strict=True))


def test_what_does_not_follow_or_is_read_stays_apart() -> None:
    class Odd(nn.Sequential):
        def forward(self, images: Tensor) -> Tensor:
            seen = self[0](images)
            return self[1](seen) + seen

    shared = nn.Conv2d(3, 3, 1)
    for network in (
        Odd(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)),
        nn.Sequential(shared, nn.BatchNorm2d(3), shared, nn.BatchNorm2d(3)),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.SyncBatchNorm(3)),
    ):
        assert n_folded(folded(network))[0] == 0
    read = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    assert n_folded(folded(read, "0")) == (0, 1) and n_folded(folded(read, "1", "")) == (1, 1)


class Branched(nn.Module):
    """Reads what lies between convolution and normalisation, where nobody would look for it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.fc = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        between = self.stem[0](images)
        return self.fc((self.stem[1](between) - between).mean((-2, -1)))


def test_a_network_that_would_compute_something_else_stays_as_it_is() -> None:
    weights = with_statistics(Branched()).float().state_dict()
    found = prepare(NetworkConfig(Branched, weights=weights), 8)
    assert n_folded(found.proxy) == (0, 1)
    (plain := Branched().eval()).load_state_dict(weights)
    assert torch.equal(found.proxy(IMAGES.float()), plain(IMAGES.float()))


def test_networks_are_folded_where_statistics_are_frozen() -> None:
    images = IMAGES.float()
    config = NetworkConfig("resnet18", weights=with_statistics(models.resnet18(num_classes=5)).float().state_dict())
    prepared = prepare(config)
    model = prepared.make_model(3, torch.Generator().manual_seed(0))
    assert n_folded(model) == (20, 20) == n_folded(prepared.proxy)
    with torch.no_grad():
        assert torch.equal(model(images)[1], prepared.proxy(images))
        network, _ = plain_network(model, images)
        assert n_folded(network) == (0, 20)
        assert torch.allclose(network(images), model(images)[0], rtol=1e-3, atol=1e-4)
    trained = prepare(replace(config, batchnorm="trained")).make_model(3, torch.Generator().manual_seed(0))
    assert n_folded(trained) == (0, 20)
