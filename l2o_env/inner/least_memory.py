"""Memory that a population takes at least, asked for before any of it is taken."""

from __future__ import annotations

import os

import torch

from l2o_env.config import EnvConfig, resolve_device
from l2o_env.errors import ConfigError
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.splits import Split

_COPIES = 4
"""Weights, those of the episode's start, those of the window's start, gradients."""


def least_bytes(config: EnvConfig, n: int, pair: Pair) -> int:
    """Bytes that `n` optimizees take at least: their weights, the order of their images, a batch of images each.

    ``fitting_num_envs`` measures what they take in truth, which is several times as much.
    """
    images = pair.train.images[0].numel() if isinstance(pair.train, Split) and len(pair.train) else 0
    order = config.budget * config.batch_size
    return n * torch.float32.itemsize * (_COPIES * pair.layout.n_weights + order + config.batch_size * images)


def require_memory(config: EnvConfig, n: int, pair: Pair) -> None:
    """Checks that the device has so much memory at all, free or not.

    Raises:
        ConfigError: If it has not.
    """
    device, need = resolve_device(config.device), least_bytes(config, n, pair)
    there = _memory(device)
    if need > there:
        raise ConfigError(
            f"{n} optimizees with batches of {config.batch_size} images and a budget of {config.budget} updates take "
            f"at least {need / 2**30:.3g} GiB; {device} has {there / 2**30:.3g} GiB. Take fewer "
            "(l2o_env.fitting_num_envs says how many fit), smaller batches or a smaller budget."
        )


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 2**62  # nobody knows
