"""How many optimizees fit."""

from __future__ import annotations

import os
from typing import Any

import pytest

from l2o_env import memory
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from tests.tiny import TINY


def _free(monkeypatch: pytest.MonkeyPatch, pages: int) -> None:
    sysconf = os.sysconf
    known = {"SC_AVPHYS_PAGES": pages, "SC_PAGE_SIZE": 1000}
    monkeypatch.setattr(os, "sysconf", lambda name: known.get(name) or sysconf(name))


def _fitting(**arguments: Any) -> int:
    return memory.fitting_num_envs(EnvConfig(**TINY), **arguments)


def test_what_fits_is_free_memory_over_that_of_one(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # 235 trained weights, 7 batches of 8 images, and twice the logits of 5 classes on a chunk of images, in 4 bytes.
    n_weights = 3 * 4 * 9 + 8 + 4 * 4 * 9 + 8 + 4 * 3 + 3
    each = 4 * (6 * n_weights + 7 * 8 + 2 * 5 * 200)
    assert memory._computed(EnvConfig(**TINY)) == each
    _free(monkeypatch, pages=each)  # a thousand times what one takes
    assert _fitting(share=0.5) == 500
    assert _fitting(share=0.5, limit=300) == 300


def test_not_even_one_fits(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _free(monkeypatch, pages=1)
    with pytest.raises(ConfigError, match=r"Not one optimizee fits.*smaller batches or a smaller network"):
        _fitting()
    with pytest.raises(ConfigError, match=r"share is 0; expected a number in \(0, 1\]"):
        _fitting(share=0)


def test_a_gpu_is_measured_with_two_small_populations(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    make = memory.make_population

    def counted(config: EnvConfig, n: int) -> Any:
        asked.append(n)
        return make(config, n)

    monkeypatch.setattr(memory, "make_population", counted)
    for name, value in {
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda device: None,
        "memory_allocated": lambda device: 1_000,
        "max_memory_allocated": lambda device: 1_000 + 50_000 + 3_000 * asked[-1],
        "mem_get_info": lambda device: (650_000, 10**9),
    }.items():
        monkeypatch.setattr(memory.torch.cuda, name, value)
    monkeypatch.setattr(memory, "resolve_device", lambda name: memory.torch.device("cuda"))
    assert _fitting(share=1.0) == 200
    assert asked == [2, 6]
