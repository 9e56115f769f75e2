"""Tensors as the kernels store them, and back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.models.kernels.tiles import TILE, padded

Floats = NDArray[np.float32]


class Buffers:
    """A flat array of floats, and what is put into it one after the other."""

    def __init__(self, length: int = 100_000) -> None:
        self.floats = np.zeros(length, np.float32)
        self._end = 0

    def place(self, *shape: int) -> int:
        """Room for an array of this shape."""
        place = self._end
        self._end += padded(int(np.prod(shape)), 16)
        assert self._end <= len(self.floats)
        return place

    def put(self, values: Tensor) -> int:
        """The place of some values, one after the other."""
        place = self.place(values.numel())
        self.floats[place : place + values.numel()] = values.detach().flatten().numpy()
        return place

    def put_activations(self, values: Tensor) -> int:
        """The place of ``(TILE, channels, h, w)``, stored ``(y, x, channel, sample)``."""
        n_channels, height, width = values.shape[1:]
        place = self.place(height, width, padded(n_channels), TILE)
        self._activations(place, n_channels, height, width)[:] = values.detach().permute(2, 3, 1, 0).numpy()
        return place

    def activations(self, place: int, n_channels: int, height: int, width: int) -> Tensor:
        """What is stored there, as ``(TILE, channels, h, w)``."""
        return torch.from_numpy(self._activations(place, n_channels, height, width).copy()).permute(3, 2, 0, 1)

    def _activations(self, place: int, n_channels: int, height: int, width: int) -> Floats:
        shape = height, width, padded(n_channels), TILE
        return self.floats[place : place + int(np.prod(shape))].reshape(shape)[:, :, :n_channels]
