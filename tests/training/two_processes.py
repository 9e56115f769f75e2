"""A training that two processes share, run in each of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from l2o_env import LearnedRates, layer_groups, param_groups
from tests.training.loops import Net, batches, network, policy, train


def _wrapped(kind: str, model: Net) -> nn.Module:
    if kind == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import init_device_mesh

    mesh = init_device_mesh("cpu", (2,))
    for part in (model.first, model.second) if kind == "fsdp-nested" else ():
        fully_shard(part, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def share_training(rank: int, folder: str) -> None:
    """Trains by each way of sharing, with a proxy and without; writes the rates that were set, rank by rank."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    made: dict[str, Any] = {}
    for kind in ("ddp", "fsdp", "fsdp-nested"):
        for guided in (True, False):
            model, proxy = network()
            groups = layer_groups(model)
            wrapped = _wrapped(kind, model)
            optimizer = torch.optim.AdamW(param_groups(wrapped, groups), lr=1e-3)
            rates = LearnedRates(
                optimizer, wrapped, policy(), groups=groups, total_updates=12, window=3, proxy=proxy if guided else None
            )
            half = slice(4 * rank, 4 * rank + 4)
            data = [(x[half], y[half]) for x, y in batches(12)]
            made[f"{kind} {guided}"] = train(wrapped, optimizer, rates, data, guided)
    torch.save(made, Path(folder) / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()
