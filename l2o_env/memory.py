"""How many optimizees fit into memory."""

from __future__ import annotations

import os

import numpy as np
import torch

from l2o_env import pairs
from l2o_env.config import EnvConfig, resolve_device
from l2o_env.core import make_population
from l2o_env.errors import ConfigError
from l2o_env.models.base import new_generator
from l2o_env.population import EVALUATION_CHUNK, Start
from l2o_env.statistics import Layout

COPIES = 6
"""Weights, gradients, momentum, reference, the window's start and one to spare: what an optimizee on a CPU needs, in
copies of its weights."""
PROBES = (2, 6)
"""Sizes of the populations that a GPU's memory is measured with."""


def fitting_num_envs(config: EnvConfig, share: float = 0.8, limit: int = 4096) -> int:
    """The largest population that free memory holds.

    On a GPU two small populations are built and stepped, and their peak memory is extrapolated. On a CPU the memory
    of an optimizee is computed.

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
    if device.type == "cuda":
        fixed, each = _measured(config, device)
        free = torch.cuda.mem_get_info(device)[0]
    else:
        fixed, each = 0, _computed(config)
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    fitting = int((share * free - fixed) // each)
    if fitting < 1:
        raise ConfigError(
            f"Not one optimizee fits: it takes {(fixed + each) / 2**20:.0f} MiB, and {share:.0%} of {free / 2**20:.0f} "
            f"MiB of free memory on {device} may be used. Use smaller batches or a smaller network."
        )
    return min(fitting, limit)


def _computed(config: EnvConfig) -> int:
    pair = pairs.make(config.pairs[0])
    n_weights = Layout.of(pair.make_model(new_generator(0))).n_weights
    logits = (pair.n_classes + pair.n_proxy_classes) * max(EVALUATION_CHUNK, len(pair.validation))
    return 4 * (COPIES * n_weights + config.budget * config.batch_size + 2 * logits)


def _measured(config: EnvConfig, device: torch.device) -> tuple[int, int]:
    """Bytes that a population takes at its peak: what does not depend on its size, and what each optimizee takes."""
    peaks = []
    for n in PROBES:
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        population = make_population(config, n)
        population.start({i: Start(0, i, i) for i in range(n)})
        rates = np.full((n, population.n_layers), config.base_lr)
        population.run(rates, np.full(n, min(2, config.window)))
        peaks.append(torch.cuda.max_memory_allocated(device) - before)
        del population
    torch.cuda.empty_cache()
    each = max((peaks[1] - peaks[0]) // (PROBES[1] - PROBES[0]), 1)
    return max(peaks[0] - PROBES[0] * each, 0), each
