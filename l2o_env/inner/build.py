"""Builds the inner loop that the settings name: stacked or looped, whole, in blocks or in worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from l2o_env import pairs as pair_registry
from l2o_env.config import EnvConfig, resolve_device
from l2o_env.errors import ConfigError
from l2o_env.inner.graphed import GraphedPopulation
from l2o_env.inner.least_memory import require_memory
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.protocol import InnerLoop
from l2o_env.inner.sharded import LocalShard, ShardedPopulation
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.worker_shard import WorkerShard
from l2o_env.inner.workers import get_workers
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
    device = resolve_device(config.device)
    if config.workers > 1 and device.type != "cpu":
        raise ConfigError(
            f"workers is {config.workers} on the device {device}; worker processes are for the CPU: use workers=1."
        )
    for name in config.pairs:
        pair_registry.check(name)
    members = [pair_registry.make(name) for name in config.pairs]
    require_memory(config, n, members[0])
    plan = Plan(_kind(config, members, n, device), n, config, dtype)
    return in_workers(plan, members) if min(config.workers, n) > 1 else plan(members)


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
    """A population in worker processes, as many as the settings say but no more than optimizees.

    Raises:
        ConfigError: If the processes cannot be started from here, or the pairs cannot be sent to them.
    """
    workers = min(plan.config.workers, plan.n)
    sizes = list(_even(plan.n, workers))
    # The threads that PyTorch would use here are handed out, so that the processes do not get in each other's way.
    threads = max(1, n_threads() // workers)
    parts = [replace(plan, n=size, config=replace(plan.config, workers=1)) for size in sizes]
    shards = [
        WorkerShard(worker, part, pairs, threads, part.n)
        for worker, part in zip(get_workers(workers), parts, strict=True)
    ]
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
