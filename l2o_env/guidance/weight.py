"""The weight λ of a guidance term: how it changes over an episode, and what it does in the training loss."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.config import EnvConfig

WARMUP = 0.1
"""Share of the budget over which `warmup` raises λ."""


def scheduled_weight(config: EnvConfig, done: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """λ of the coming windows, ``(N,)``, read at their midpoints as learning-rate schedules are.

    Args:
        config: ``guidance_weight`` is the largest λ, ``guidance_schedule`` how it changes: `constant`, `linear` and
            `cosine` (both from there to 0 at the end), `warmup` (from 0 to there in the first tenth of the budget).
        done: Updates that were made, ``(N,)``.
        lengths: Updates of the windows, ``(N,)``.
    """
    if config.guidance_schedule == "constant":
        return np.full(done.shape, config.guidance_weight)
    progress = (done + lengths / 2) / config.budget
    factors = {
        "linear": 1 - progress,
        "cosine": (1 + np.cos(np.pi * progress)) / 2,
        "warmup": np.minimum(progress / WARMUP, 1.0),
    }
    return config.guidance_weight * factors[config.guidance_schedule]


class GuidanceWeight:
    """λ of N optimizees for one window, and what their guidance terms count in the training loss.

    Args:
        config: ``guidance_weight`` is λ until it is set; without guidance it stays 0. ``guidance_cap`` is what the
            weighted term counts at most; beyond it the term has no gradient.
        like: A tensor of the device and the type that the losses have.
        n: Number of optimizees.
        in_place: Whether λ stays in one tensor, which recorded graphs read.
    """

    def __init__(self, config: EnvConfig, like: Tensor, n: int, *, in_place: bool = False) -> None:
        self.cap = config.guidance_cap
        self._default, self._guided, self._like = config.guidance_weight, config.guidance != "none", like
        self._buffer = like.new_zeros(n) if in_place else None
        self.values: NDArray[np.float64] = np.zeros(n)
        """λ of each optimizee, ``(N,)``, on the host."""
        self.on_device: float | Tensor = 0.0 if self._buffer is None else self._buffer
        """The same on the device, ``(N,)``; one number as long as it is the same for all."""

    def set(self, values: NDArray[np.float64] | None) -> None:
        """Sets λ ``(N,)``; None takes that of the settings."""
        values = np.full(len(self.values), self._default) if values is None else values
        self.values = values * self._guided
        if self._buffer is not None:
            self._buffer.copy_(torch.as_tensor(self.values))
        elif (self.values == self.values[0]).all():
            self.on_device = float(self.values[0])
        else:
            self.on_device = torch.as_tensor(self.values).to(self._like)

    def of(self, i: int) -> float | Tensor:
        """λ of the i-th optimizee."""
        return self.on_device if isinstance(self.on_device, float) else self.on_device[i]

    def counted(self, term: Tensor, i: int | None = None) -> Tensor:
        """What guidance terms count in the training loss: of all optimizees ``(N,)``, or of the i-th a scalar."""
        weighted = (self.on_device if i is None else self.of(i)) * term
        return weighted if self.cap is None else weighted.clamp(max=self.cap)

    def scale(self, term: Tensor) -> float | Tensor:
        """Weight of the gradients of terms ``(N,)`` in that of the training loss: one for all or ``(N, 1)``."""
        weight = self.on_device
        if self.cap is not None:
            weight = torch.where(weight * term <= self.cap, weight, 0.0)
        return weight if isinstance(weight, float) else weight[:, None].to(term)
