"""Pairs on their way to other nodes: images as arrays that the processes of a node share, the rest by value."""

from __future__ import annotations

import io
import pickle
import uuid
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from l2o_env.errors import ConfigError
from l2o_env.extras import require
from l2o_env.pairs.pair import Pair

SHARED_BYTES = 1 << 16
"""Tensors of at least this size are shared; nobody may write to them."""


class SentPair(NamedTuple):
    """A pair as an object of Ray's store, from which processes of a node read `arrays` without a copy.

    Attributes:
        key: Tells it from any other.
        name: The pair's name.
        data: The pair without the large arrays.
        arrays: The large arrays, as bytes.
    """

    key: str
    name: str
    data: bytes
    arrays: list[NDArray[np.uint8]]

    @classmethod
    def of(cls, pair: Pair) -> SentPair:
        """A pair, made ready.

        Raises:
            ConfigError: If it cannot be sent.
        """
        # Which sends functions of a script or a notebook too: there is no file of theirs on another node.
        cloudpickle = require("ray.cloudpickle", extra="ray", what="--ray")

        class Pickler(cloudpickle.CloudPickler):  # type: ignore[name-defined]
            def reducer_override(self, value: Any) -> Any:
                return _reduced(value) or super().reducer_override(value)

        buffers: list[pickle.PickleBuffer] = []
        file = io.BytesIO()
        try:
            Pickler(file, protocol=5, buffer_callback=buffers.append).dump(pair)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(f"Pair {pair.name!r} cannot be sent to other nodes: {error}.") from error
        arrays = [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers]
        return cls(uuid.uuid4().hex, pair.name, file.getvalue(), arrays)

    @property
    def n_bytes(self) -> int:
        """Its size."""
        return len(self.data) + sum(array.nbytes for array in self.arrays)

    def load(self) -> Pair:
        """The pair."""
        return pickle.loads(self.data, buffers=self.arrays)


def _reduced(value: Any) -> Any:
    """How a large tensor of images is sent; None for whatever is sent as usual, such as weights."""
    if not isinstance(value, Tensor) or isinstance(value, nn.Parameter) or value.is_sparse or value.requires_grad:
        return None
    if value.device.type != "cpu" or value.numel() * value.element_size() < SHARED_BYTES:
        return None
    try:
        return _tensor, (np.ascontiguousarray(value.numpy()),)
    except TypeError:  # a type that NumPy does not have, such as bfloat16
        return None


def _tensor(array: NDArray[Any]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it cannot be written to, and nobody does
        return torch.from_numpy(array)
