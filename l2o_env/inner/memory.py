"""How many optimizees fit into memory.

What a population takes is measured, because no formula knows the activations of any network, the logits of a class per
pixel, or what ``vmap`` keeps. Two small populations make a window each; a larger one is extrapolated from them.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from l2o_env import pairs
from l2o_env.config import IN_PROCESS, EnvConfig, resolve_device
from l2o_env.errors import ConfigError
from l2o_env.inner.build import Plan, make_population
from l2o_env.inner.optimizees import STAGES
from l2o_env.inner.population import Population
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.statistics import FUSED
from l2o_env.inner.window import Start

PROBES = (2, 16)
"""Least and largest size of the smaller population that is measured."""
STEP = 4
"""By how many optimizees the other one is larger."""
HEADROOM = 1.6
"""On a CPU tensors are counted, and this factor is for the rest: what operations take inside (up to 16 % was seen),
what NumPy takes, and what malloc keeps of freed tensors (half as much again, where they are of some MiB)."""


def fitting_num_envs(config: EnvConfig, share: float = 0.8, limit: int = 4096) -> int:
    """The largest population that free memory holds while it makes its windows and validates.

    The answer is for memory that the process does not have yet. Not in it: evaluations on the target, images that are
    decoded on demand and kept (``cache_gb``), and what worker processes take for Python and PyTorch.

    Args:
        config: Settings of the environment.
        share: Share of the free memory that may be used, in (0, 1].
        limit: The largest answer; more optimizees than a processor can work on side by side gain nothing.

    Returns:
        Number of optimizees, at least 1.

    Raises:
        ConfigError: If the share is none, or not even one optimizee fits.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"share is {share!r}; expected a number in (0, 1].")
    device = resolve_device(config.device)
    need = measured_need(replace(config, **IN_PROCESS), device)
    usable = share * _free(device)
    parts = config.workers
    fitting = max((n for n in range(1, limit + 1) if parts * need(-(-n // parts)) <= usable), default=0)
    if fitting < 1:
        raise ConfigError(
            f"Not one optimizee fits: it takes {need(1) / 2**20:.3g} MiB, and {share:.0%} of "
            f"{usable / share / 2**20:.3g} MiB of free memory on {device} may be used. Use smaller batches or a "
            "smaller network."
        )
    return fitting


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class Line(NamedTuple):
    """Bytes that grow with the number of optimizees."""

    fixed: float
    each: float

    @classmethod
    def through(cls, n: int, small: float, large: float) -> Line:
        """The line through what `n` and ``n + STEP`` optimizees take."""
        each = (large - small) / STEP
        return cls(small - n * each, each)

    def __call__(self, n: int) -> float:
        """Bytes for `n` optimizees."""
        return self.fixed + n * self.each


@dataclass(frozen=True)
class Need:
    """Memory that a population of one process takes at its peak, by its size.

    Attributes:
        held: What it keeps between windows.
        stages: What each stage of a window takes besides, for the optimizees that run at a time.
        at_a_time: Size of a population to the number of optimizees that run at a time.
        headroom: Factor for what was not counted.
    """

    held: Line
    stages: tuple[Line, ...]
    at_a_time: Callable[[int], int]
    headroom: float

    def __call__(self, n: int) -> float:
        """Bytes that a population of `n` takes."""
        block = self.at_a_time(n)
        return self.headroom * (self.held(n) + max(stage(block) for stage in self.stages))


def measured_need(config: EnvConfig, device: torch.device) -> Need:
    """Measures what populations of these settings take in one process.

    Args:
        config: Settings of the environment, not divided.
        device: Their device.
    """
    n_weights = pairs.make(config.pairs[0]).layout.n_weights
    # Of few weights the statistics are computed in another way, which larger populations leave.
    n = min(max(PROBES[0], FUSED // n_weights + 1), PROBES[1])
    small, large = _probe(config, device, n), _probe(config, device, n + STEP)
    passing = ((small.peaks[key] - small.held, large.peaks[key] - large.held) for key in small.peaks)
    return Need(
        held=Line.through(n, small.held, large.held),
        stages=tuple(Line.through(n, *sizes) for sizes in passing),
        at_a_time=lambda n: max(Plan("stacked" if large.stacked else "looped", n, config).block_sizes()),
        headroom=1.0 if device.type == "cuda" else HEADROOM,
    )


class _Probe(NamedTuple):
    """Bytes that a population kept after a window, and took at the peak of each stage; and whether it was stacked.

    Stages are extrapolated one by one. Each grows linearly, but not all alike: one large network takes most for its
    activations, many for the statistics of their weights.
    """

    held: int
    peaks: dict[str, int]
    stacked: bool


def _probe(config: EnvConfig, device: torch.device, n: int) -> _Probe:
    with CudaMeter(device) if device.type == "cuda" else CpuMeter() as meter:
        population = make_population(config, n)
        assert isinstance(population, Population)  # so few are never divided
        peaks = _watch(population, meter)
        population.start({i: Start(0, i, i) for i in range(n)})
        population.run(np.full((n, population.n_layers), config.base_lr), np.full(n, min(2, config.window)))
        peaks["between"] = max(peaks["between"], meter.take_peak())
        return _Probe(meter.now, peaks, isinstance(population, StackedPopulation))


def _watch(population: Population, meter: CpuMeter | CudaMeter) -> dict[str, int]:
    """Peaks of the stages of a population, and of what is between them; they grow as it runs."""
    peaks = dict.fromkeys(("between", *STAGES), 0)

    def note(stage: str) -> None:
        peaks[stage] = max(peaks[stage], meter.take_peak())

    @contextmanager
    def measured(stage: str) -> Iterator[None]:
        note("between")
        try:
            yield
        finally:
            note(stage)

    population.stage = measured
    return peaks


class CpuMeter(TorchDispatchMode):
    """Counts the bytes of the tensors on the CPU that operations of this thread make, as long as they live.

    Unlike the size of the process, they are the same in each run. What an operation frees before it returns is not
    seen, nor arrays of NumPy.

    Attributes:
        now: Bytes of all living tensors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self._peak = 0
        self._known: set[int] = set()

    def take_peak(self) -> int:
        """Most bytes since it was last asked."""
        peak, self._peak = self._peak, self.now
        return peak

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        given = set(_storages((args, kwargs)))
        for key, storage in _storages(found).items():
            if key not in given and key not in self._known:
                self._add(key, storage)
        return found

    def _add(self, key: int, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self._known.add(key)
        self.now += size
        self._peak = max(self._peak, self.now)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.remove(key)
        self.now -= size


def _storages(values: Any) -> dict[int, torch.UntypedStorage]:
    """What the tensors on the CPU among (nested) values are stored in, by address."""
    tensors = [value for value in tree_leaves(values) if isinstance(value, Tensor) and value.device.type == "cpu"]
    found = {storage.data_ptr(): storage for storage in (tensor.untyped_storage() for tensor in tensors)}
    return {address: storage for address, storage in found.items() if address}


class CudaMeter:
    """Counts the bytes that PyTorch has allocated on a GPU since the block was entered."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._before = device, 0

    def __enter__(self) -> CudaMeter:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)
        self._before = torch.cuda.memory_allocated(self._device)
        return self

    def __exit__(self, *error: object) -> None:
        torch.cuda.empty_cache()

    @property
    def now(self) -> int:
        """Bytes that are allocated."""
        return torch.cuda.memory_allocated(self._device) - self._before

    def take_peak(self) -> int:
        """Most bytes since it was last asked."""
        peak = torch.cuda.max_memory_allocated(self._device) - self._before
        torch.cuda.reset_peak_memory_stats(self._device)
        return peak
