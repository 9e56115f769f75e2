"""How much weights matter: by a path integral, and by squares of gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from l2o_env.models.base import Optimizee, new_generator
from l2o_env.models.importance import PathIntegral, fisher_importance
from tests.tiny import TinyNet, tiny_pair


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=new_generator(seed), dtype=torch.float64)


def test_path_integral_of_two_updates_by_hand() -> None:
    weight, unused = torch.nn.Parameter(torch.tensor([1.0, 2.0])), torch.nn.Parameter(torch.ones(1))
    path = PathIntegral({"w": weight, "unused": unused})
    for gradient, change in (([0.5, -1.0], [-0.1, 0.3]), ([0.2, 1.0], [0.3, 0.1])):
        weight.grad = torch.tensor(gradient)
        with torch.no_grad():
            weight += torch.tensor(change)
        path.updated()
    # omega = (0.05 - 0.06, 0.3 - 0.1), moved by (0.2, 0.4); what did the loss harm counts for nothing.
    expected = [0.0, 0.2 / (0.16 + 1e-3)]
    torch.testing.assert_close(path.importance()["w"], torch.tensor(expected))
    assert path.importance(xi=0.04)["w"][1].item() == pytest.approx(1.0)
    assert path.importance()["unused"].item() == 0


def test_fisher_importance_is_the_mean_square_of_image_gradients() -> None:
    model = TinyNet(new_generator(0)).double()
    images = tiny_pair().train.images[:3].double()
    found = fisher_importance(model, images)
    expected = torch.zeros_like(model.stem.weight)
    for image in images:
        model.zero_grad()
        logits = model(image[None])[1][0]
        (logits.exp().sum().log() - logits.max()).backward()
        assert model.stem.weight.grad is not None
        expected += model.stem.weight.grad**2 / 3
    torch.testing.assert_close(found["stem.weight"], expected)
    assert found["stem.weight"].max() > 0
    assert not found["head.weight"].any()


def test_fisher_importance_of_a_class_per_place_is_of_the_mean_over_places() -> None:
    class Dense(Optimizee):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(_random(3, 2))

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            logits = torch.einsum("nchw,ck->nkhw", images, self.weight)
            return logits, logits

    images = _random(2, 3, 2, 2)
    expected = torch.zeros(3, 2, dtype=torch.float64)
    for image in images:
        gradient = torch.zeros(3, 2, dtype=torch.float64)
        for place in image.flatten(1).T:  # of -log p(y): p - 1 for the likelier class, p for the other
            probs = (place @ _random(3, 2)).softmax(0)
            gradient += place[:, None] * (probs - torch.eye(2, dtype=torch.float64)[probs.argmax()]) / 4
        expected += gradient**2 / 2
    torch.testing.assert_close(fisher_importance(Dense(), images)["weight"], expected)
