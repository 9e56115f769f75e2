"""Pretraining a network: by hand, and how well it went is told."""

from __future__ import annotations

import logging
import math
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from l2o_env import pairs
from l2o_env.errors import ConfigError
from l2o_env.models import SmallProxy, new_generator
from l2o_env.models.losses import IGNORED
from l2o_env.pairs.proxies import pretraining
from l2o_env.pairs.proxies.pretraining import ProxyTraining


@pytest.mark.parametrize("settings", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"weight_decay": -1.0}])
def test_proxy_training_that_cannot_work(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(settings))} is"):
        ProxyTraining(**settings)


def test_training_and_its_path_integral_by_hand() -> None:
    """Nesterov's SGD on batches, ω ← ω − g Δθ with the gradient of the task loss alone, Ω = relu(ω / (Δθ² + ξ))."""
    images = torch.randn(11, 3, 16, 16, generator=new_generator(0), dtype=torch.float64)
    data = pairs.Split(images, torch.arange(11) % 5)
    training = ProxyTraining(epochs=4, batch_size=3, learning_rate=0.05, weight_decay=0.5)
    net = SmallProxy(5, new_generator(1)).double()
    model = deepcopy(net)
    params = dict(model.named_parameters())
    first = {name: p.detach().clone() for name, p in params.items()}
    velocity, omega = ({name: torch.zeros_like(p) for name, p in params.items()} for _ in range(2))
    generator, update = new_generator(2), 0
    for _ in range(4):
        for batch in torch.randperm(11, generator=generator).split(3):  # four in an epoch, 16 in all
            factor = 0.05 + 0.95 * update / 3 if update < 3 else (1 + math.cos(math.pi * (update - 3) / 13)) / 2
            loss = torch.nn.functional.cross_entropy(model(images[batch]), data.labels[batch])
            for (name, p), g in zip(params.items(), torch.autograd.grad(loss, list(params.values())), strict=True):
                before = p.detach().clone()
                velocity[name] = 0.9 * velocity[name] + (g + 0.5 * before)
                with torch.no_grad():
                    p -= 0.05 * factor * (g + 0.5 * before + 0.9 * velocity[name])
                omega[name] -= g * (p.detach() - before)
            update += 1
    found = pretraining.fit(net, data, new_generator(2), training, track=True).importance()
    assert update == 16 and set(found) == set(params)
    assert min(o.min() for o in omega.values()) < 0 < max(o.max() for o in omega.values())
    for name, p in params.items():
        moved = p.detach() - first[name]
        torch.testing.assert_close(net.get_parameter(name).detach(), p.detach())
        torch.testing.assert_close(found[name], (omega[name] / (moved.square() + 1e-3)).clamp(min=0))


class _Brightness(nn.Module):
    """Says class 1 of places that are brighter than 0.5, and one and the same class of all if it is stuck."""

    def __init__(self, stuck: bool = False) -> None:
        super().__init__()
        self.stuck = stuck

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(n, 3, h / 2, w / 2)`` of images, or ``(n, 3)`` of single pixels."""
        x = F.avg_pool2d(images, 2)[:, 0] if images.shape[-1] > 1 else images[:, 0, 0, 0]
        return torch.stack([torch.zeros_like(x) + 9 * self.stuck, x - 0.5, torch.full_like(x, -1)], dim=1)


def _told(caplog: pytest.LogCaptureFixture, labels: list[int], bright: list[int], stuck: bool) -> list[tuple[int, str]]:
    caplog.clear()
    images = torch.zeros(len(labels), 3, 1, 1)
    images[bright] = 1.0
    with caplog.at_level(logging.INFO, "l2o_env"):
        pretraining.tell_accuracy(_Brightness(stuck), pairs.Split(images, torch.tensor(labels)), 3)
    return [(record.levelno, record.getMessage()) for record in caplog.records]


def test_how_well_a_proxy_was_trained_is_told(caplog: pytest.LogCaptureFixture) -> None:
    told = (logging.INFO, "The proxy names 75 % of its training images rightly.")
    assert _told(caplog, [0, 1, 1, 2], [1, 2], False) == [told]  # 2 is never named
    stuck = (
        logging.WARNING,
        "The proxy learned nothing: 75 % of its training images are of one class. Give another proxy_learning_rate or "
        "more proxy_epochs.",
    )
    assert _told(caplog, [0, 0, 0, 1], [1], True) == [told, stuck]
    all_of_them = (logging.INFO, "The proxy names 100 % of its training images rightly.")
    assert _told(caplog, [0, 0], [], True) == [all_of_them]  # of one class nothing else can be learned


@pytest.mark.parametrize("stuck", [False, True])
def test_with_masks_it_is_told_of_labelled_pixels(caplog: pytest.LogCaptureFixture, stuck: bool) -> None:
    images, labels = torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.int64)
    images[0, :, :, 4:], labels[0, :, 4:] = 1.0, 1
    labels[1] = IGNORED
    with caplog.at_level(logging.INFO, "l2o_env"):
        pretraining.tell_accuracy(_Brightness(stuck), pairs.Split(images, labels), 1)
    assert f"The proxy names {50 if stuck else 100} % of its labelled training pixels rightly." in caplog.messages
    warned = "The proxy learned nothing: 50 % of its labelled training pixels are of one class."
    assert any(message.startswith(warned) for message in caplog.messages) is stuck
