"""How much a network's weights matter to the task that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from l2o_env.models.base import Optimizee

XI = 1e-3
"""ξ: keeps Ω finite for weights that hardly moved."""


class PathIntegral:
    """Accumulates ω while a network is trained: ω ← ω − g·Δθ at each update.

    Args:
        named: The parameters by name; g is their gradient (of the task loss alone), Δθ what an update changes.
    """

    def __init__(self, named: Mapping[str, nn.Parameter]) -> None:
        self._named = dict(named)
        self._first = {name: p.detach().clone() for name, p in named.items()}
        self._last = {name: p.clone() for name, p in self._first.items()}
        self._omega = {name: torch.zeros_like(p) for name, p in self._first.items()}

    def updated(self) -> None:
        """Takes in an update, before the gradients are taken away."""
        for name, p in self._named.items():
            if p.grad is not None:
                self._omega[name] -= p.grad * (p.detach() - self._last[name])
            self._last[name].copy_(p.detach())

    def importance(self, xi: float = XI) -> dict[str, Tensor]:
        """Ω = relu(ω / ((θ − θ₀)² + ξ)), by parameter name."""
        moved = {name: p - self._first[name] for name, p in self._last.items()}
        return {name: F.relu(omega / (moved[name].square() + xi)) for name, omega in self._omega.items()}


def fisher_importance(model: Optimizee, images: Tensor) -> dict[str, Tensor]:
    """Mean square of the gradient of log p(ŷ|x) of the proxy's head, image by image, by parameter name.

    Args:
        model: The proxy's backbone and head, with any new head.
        images: ``(n, channels, height, width)``.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    importance = {name: torch.zeros_like(p) for name, p in named.items()}
    for image in images:
        loss = -model(image[None])[1].log_softmax(1).amax(1).mean()  # of a segmentation: mean over the places
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            if gradient is not None:
                importance[name] += gradient.square() / len(images)
    return importance
