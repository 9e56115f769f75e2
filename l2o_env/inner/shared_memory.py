"""How pairs are sent to other processes: large tensors as shared memory, small ones by value."""

from __future__ import annotations

import io
import pickle
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from l2o_env.pairs.pair import Pair

SHARED_BYTES = 1 << 16
"""Tensors of at least this size are sent as shared memory, of which every one takes a file descriptor."""


# --- what is sent ----------------------------------------------------------------------------------------------------


class _Pickler(ForkingPickler):
    """Sends large tensors as shared memory, as PyTorch does with all, and small ones by value."""

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or value.device.type != "cpu" or value.is_sparse:
            return NotImplemented
        if value.numel() * value.element_size() >= SHARED_BYTES:
            return NotImplemented
        array = value.detach().numpy().copy()
        return _tensor, (array, value.requires_grad, isinstance(value, nn.Parameter))


def _tensor(array: np.ndarray, requires_grad: bool, is_parameter: bool) -> Tensor:
    tensor = torch.from_numpy(array)
    return nn.Parameter(tensor, requires_grad) if is_parameter else tensor.requires_grad_(requires_grad)


def dump_pair(pair: Pair) -> bytes:
    """A pair as a message to another process of this machine, which ``pickle.loads`` reads."""
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(pair)
    return buffer.getvalue()
