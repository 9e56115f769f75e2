"""Builds the population that the settings name: stacked or looped, whole, in blocks or in worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from l2o_env import pairs
from l2o_env.config import EnvConfig, resolve_device
from l2o_env.errors import ConfigError
from l2o_env.inner.graphed import GraphedPopulation
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.population import Population
from l2o_env.inner.sharded import LocalShard, ShardedPopulation
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.workers import WorkerShard, get_workers
from l2o_env.pairs.pair import Pair, is_streamed

BLOCK = 32
"""Most optimizees of a block, if no more than 8 threads share it: what a window needs besides weights, momentum and
reference is needed for one block at a time, and a block's weights stay in the caches."""
BLOCK_PER_THREAD = 4
"""Fewest optimizees of a full block for each thread, so that none waits for long."""


def make_population(config: EnvConfig, n: int, dtype: torch.dtype = torch.float32) -> Population | ShardedPopulation:
    """Builds the population that the settings name.

    With ``implementation="auto"`` networks that can be stacked are, unless there is just one optimizee and the
    network has no kernels of its own.
    """
    # What can be wrong is found out before a pair is built, because that may take the training of a proxy.
    device = resolve_device(config.device)
    if config.workers > 1 and device.type != "cpu":
        raise ConfigError(
            f"workers is {config.workers} on the device {device}; worker processes are for the CPU: use workers=1."
        )
    for name in config.pairs:
        pairs.check(name)
    members = [pairs.make(name) for name in config.pairs]
    kind = config.implementation
    if kind == "auto":
        models = [pair.make_model(torch.Generator()) for pair in members]
        batched = device.type == "cpu" and models[0].batched_kernels(members[0].n_proxy_classes) is not None
        streamed = any(is_streamed(pair) for pair in members)
        stackable = not streamed and _same_images(members) and not list(models[0].buffers())
        # One small network alone gains from kernels, and from graphs.
        graphed = device.type == "cuda" and config.cuda_graphs
        stackable = stackable and config.precision == "float32"
        kind = "stacked" if stackable and (n > 1 or batched or graphed) else "looped"
    divide = in_workers if min(config.workers, n) > 1 else build
    return divide(kind, members, n, config, dtype)


def _same_images(members: Sequence[pairs.Pair]) -> bool:
    return len({pair.train.images.shape[1:] for pair in members if isinstance(pair.train, pairs.Split)}) == 1


def build(
    kind: str, members: Sequence[Pair], n: int, config: EnvConfig, dtype: torch.dtype = torch.float32
) -> Population | ShardedPopulation:
    """A population of one process, in blocks if it is a large one on a CPU."""
    if kind != "stacked":
        return LoopedPopulation(members, n, config, dtype)
    device = resolve_device(config.device)
    if device.type != "cpu" and config.cuda_graphs:
        return GraphedPopulation(members, n, config, dtype)
    sizes = block_sizes(kind, n, device)
    if len(sizes) == 1:
        return StackedPopulation(members, n, config, dtype)
    blocks: list[StackedPopulation] = []
    for size in sizes:
        blocks.append(StackedPopulation(members, size, config, dtype, like=blocks[0] if blocks else None))
    return ShardedPopulation(members, config, sizes, [LocalShard(population) for population in blocks])


def block_sizes(kind: str, n: int, device: torch.device) -> list[int]:
    """Optimizees of each block of a population of one process; blocks run one after the other."""
    if kind != "stacked" or device.type != "cpu":
        return [n]
    return list(_even(n, -(-n // max(BLOCK, BLOCK_PER_THREAD * torch.get_num_threads()))))


def _even(n: int, parts: int) -> Iterator[int]:
    """Sizes of nearly equal parts."""
    for i in range(parts):
        yield n // parts + (i < n % parts)


def in_workers(
    kind: str, members: Sequence[Pair], n: int, config: EnvConfig, dtype: torch.dtype = torch.float32
) -> ShardedPopulation:
    """A population in worker processes, as many as the settings say but no more than optimizees.

    Raises:
        ConfigError: If the processes cannot be started from here, or the pairs cannot be sent to them.
    """
    workers = min(config.workers, n)
    sizes = list(_even(n, workers))
    alone = replace(config, workers=1)
    # The threads that PyTorch would use here are handed out, so that the processes do not get in each other's way.
    threads = max(1, torch.get_num_threads() // workers)
    processes = get_workers(workers)
    shards = [
        WorkerShard(worker, build, kind, members, size, alone, dtype, threads)
        for worker, size in zip(processes, sizes, strict=True)
    ]
    try:
        for shard in shards:
            shard.result()
    except BaseException:
        for shard in shards:
            shard.forget()
        raise
    return ShardedPopulation(members, config, sizes, shards)
