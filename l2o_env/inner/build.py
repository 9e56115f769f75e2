"""Builds the inner loop that the settings name: stacked or looped, whole, in blocks or in workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from l2o_env import pairs as pair_registry
from l2o_env.config import IN_PROCESS, EnvConfig, resolve_device
from l2o_env.errors import ConfigError
from l2o_env.inner.graphed import GraphedPopulation
from l2o_env.inner.least_memory import require_memory
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.protocol import InnerLoop
from l2o_env.inner.ray_worker import ray_workers
from l2o_env.inner.sharded import LocalShard, ShardedPopulation
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.worker_pool import WorkerPool
from l2o_env.inner.worker_shard import WorkerShard
from l2o_env.inner.workers import PROCESSES
from l2o_env.pairs.pair import Pair, is_streamed
from l2o_env.pairs.splits import Split
from l2o_env.threads import n_threads

BLOCK = 32
"""Most optimizees of a block, if no more than 8 threads share it: what a window needs besides weights, momentum and
reference is needed for one block at a time, and a block's weights stay in the caches."""
BLOCK_PER_THREAD = 4
"""Fewest optimizees of a full block for each thread, so that none waits for long."""


@dataclass(frozen=True)
class Plan:
    """How a population of one process is run; called with its pairs, it builds the population.

    Attributes:
        kind: ``"stacked"`` (one batched graph) or ``"looped"`` (one network after the other).
        n: Number of optimizees.
        config: Settings of the inner loop.
        dtype: Floating-point type of weights and images.
    """

    kind: Literal["stacked", "looped"]
    n: int
    config: EnvConfig
    dtype: torch.dtype = torch.float32

    def __call__(self, pairs: Sequence[Pair]) -> InnerLoop:
        """Builds the population: whole, or in blocks if it is a large one on a CPU."""
        n, config, dtype = self.n, self.config, self.dtype
        if self.kind == "looped":
            return LoopedPopulation(pairs, n, config, dtype)
        if resolve_device(config.device).type != "cpu" and config.cuda_graphs:
            return GraphedPopulation(pairs, n, config, dtype)
        sizes = self.block_sizes()
        if len(sizes) == 1:
            return StackedPopulation(pairs, n, config, dtype)
        blocks: list[StackedPopulation] = []
        for size in sizes:
            blocks.append(StackedPopulation(pairs, size, config, dtype, like=blocks[0] if blocks else None))
        return ShardedPopulation(pairs, config, sizes, [LocalShard(block) for block in blocks])

    def block_sizes(self) -> list[int]:
        """Optimizees of each block; blocks run one after the other."""
        if self.kind != "stacked" or resolve_device(self.config.device).type != "cpu":
            return [self.n]
        return list(_even(self.n, -(-self.n // max(BLOCK, BLOCK_PER_THREAD * n_threads()))))


def make_population(config: EnvConfig, n: int, dtype: torch.dtype = torch.float32) -> InnerLoop:
    """Builds the inner loop that the settings name.

    With ``implementation="auto"`` networks that can be stacked are, unless there is just one optimizee and the
    network has no kernels of its own.
    """
    # What can be wrong is found out before a pair is built, because that may take the training of a proxy.
    device = check_workers(config, n)
    for name in config.pairs:
        pair_registry.check(name)
    members = [pair_registry.make(name) for name in config.pairs]
    require_memory(config, n, members[0])
    plan = Plan(_kind(config, members, n, device), n, config, dtype)
    divided = config.ray is not None or min(config.workers, n) > 1
    return in_workers(plan, members) if divided else plan(members)


def check_workers(config: EnvConfig, n: int) -> torch.device:
    """Checks that the workers of a population can be had, before anything is built.

    Args:
        config: Settings of the environment.
        n: Number of optimizees.

    Returns:
        Where the networks will be, which may be a device of another machine.

    Raises:
        ConfigError: If they cannot.
    """
    if config.ray is not None:
        ray_workers(config.ray, min(config.workers, n), config.gpus_per_worker)
    if config.gpus_per_worker:
        return torch.device("cuda")
    device = resolve_device(config.device)
    if config.ray is not None and device.type != "cpu":
        raise ConfigError(
            f"The device is {device}, and workers of Ray get no GPU: give gpus_per_worker, such as 1, or device='cpu'."
        )
    if config.workers > 1 and device.type != "cpu":
        raise ConfigError(
            f"workers is {config.workers} on the device {device}; worker processes are for the CPU: use workers=1."
        )
    return device


def _kind(config: EnvConfig, pairs: Sequence[Pair], n: int, device: torch.device) -> Literal["stacked", "looped"]:
    """The implementation that suits the networks best, unless the settings name one."""
    if config.implementation != "auto":
        return config.implementation
    models = [pair.make_model(torch.Generator()) for pair in pairs]
    stackable = (
        config.precision == "float32"
        and not any(is_streamed(pair) for pair in pairs)
        and not list(models[0].buffers())
        and len({pair.train.images.shape[1:] for pair in pairs if isinstance(pair.train, Split)}) == 1
    )
    if not stackable:
        return "looped"
    # One network alone gains nothing from a batched graph, but a small one from kernels, and from graphs of a GPU.
    gains = n > 1 or (
        models[0].batched_kernels(pairs[0].n_proxy_classes) is not None if device.type == "cpu" else config.cuda_graphs
    )
    return "stacked" if gains else "looped"


def in_workers(plan: Plan, pairs: Sequence[Pair]) -> ShardedPopulation:
    """A population in workers, as many as the settings say but no more than optimizees.

    Raises:
        ConfigError: If the workers cannot be started, or the pairs cannot be sent to them.
    """
    config, workers = plan.config, min(plan.config.workers, plan.n)
    sizes = list(_even(plan.n, workers))
    pool: WorkerPool[Any]
    if config.ray is None:
        # The threads that PyTorch would use here are handed out, so that the processes do not get in each other's way.
        pool, threads = PROCESSES, max(1, n_threads() // workers)
    else:
        pool, threads = ray_workers(config.ray, workers, config.gpus_per_worker), 1
    inner = replace(config, **IN_PROCESS, device="cuda" if config.gpus_per_worker else config.device)
    parts = [replace(plan, n=size, config=inner) for size in sizes]
    pool.get(workers)  # all at once, because starting takes seconds
    shards = [WorkerShard(pool, k, part, pairs, threads, part.n) for k, part in enumerate(parts)]
    try:
        for shard in shards:
            shard.result()
    except BaseException:
        for shard in shards:
            shard.forget()
        raise
    return ShardedPopulation(pairs, plan.config, sizes, shards)


def _even(n: int, parts: int) -> Iterator[int]:
    """Sizes of nearly equal parts."""
    for i in range(parts):
        yield n // parts + (i < n % parts)
