"""Sums over the processes that train one network."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds; all of it, if it is not sharded."""
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()


def part_like(sharded: Tensor, whole: Tensor) -> Tensor:
    """The part of a tensor that this process holds of another of its shape; all of it, if that is not sharded."""
    if not hasattr(sharded, "placements"):
        return whole
    from torch.distributed.tensor import DTensor, Replicate

    mesh = sharded.device_mesh  # type: ignore[attr-defined]
    copies = DTensor.from_local(whole, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return copies.redistribute(mesh, sharded.placements).to_local()


class Processes:
    """The processes that train one network together; one alone, if there are no others.

    What a policy reads has to be the same in all of them, or their rates, and then their weights, would go apart.

    Args:
        group: The process group; None: all of them, if ``torch.distributed`` was initialised.
    """

    def __init__(self, group: Any = None) -> None:
        ready = torch.distributed.is_available() and torch.distributed.is_initialized()
        self._group = group
        self.n = torch.distributed.get_world_size(group) if ready else 1

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes."""
        if self.n > 1:
            torch.distributed.all_reduce(values, group=self._group)
        return values

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes."""
        return self.sum(values / self.n) if self.n > 1 else values

    def factor(self, tensor: Tensor) -> float:
        """What the part of a tensor that is here is multiplied by, so that squares sum up to those of the whole.

        Copies of it count once: of N processes that hold the same, each has a share of 1 / N of the squares.
        """
        shards = 1
        for k, placement in enumerate(getattr(tensor, "placements", ())):
            shards *= tensor.device_mesh.size(k) if placement.is_shard() else 1  # type: ignore[attr-defined]
        return math.sqrt(shards / self.n)
