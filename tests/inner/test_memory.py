"""How many optimizees fit: estimates beside what PyTorch's allocator was asked for, and the arithmetic on them."""

from __future__ import annotations

import dataclasses
import itertools
import os
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from l2o_env import pairs
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.inner import build, memory
from l2o_env.inner.build import make_population
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.memory import CpuMeter, Line, Need, measured_need
from l2o_env.inner.statistics import FUSED
from l2o_env.inner.window import Start
from l2o_env.models.base import Optimizee, new_generator
from l2o_env.models.blocks import initialise
from tests.tiny import N_CLASSES, N_PROXY_CLASSES, SIZE, TINY, TinyProxy, register_tiny, tiny_pair

SEGMENTATION = "glyphs-digits-seg:n_train=60,n_validation=20,n_proxy_train=16,proxy_epochs=1"
CPU = torch.device("cpu")


def _peak_of_the_allocator(config: EnvConfig, n: int) -> int:
    """Most bytes of the CPU's allocator, workspaces of operations included, while a population makes a window."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        population = make_population(config, n)
        population.start({i: Start(0, i, i) for i in range(n)})
        population.run(np.full((n, population.n_layers), 0.01), np.full(n, 2))
    assert profiler.profiler is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    return int(np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]).max())


@pytest.mark.parametrize(
    ("name", "settings", "n"),
    [
        ("tiny", {"implementation": "stacked"}, 6),
        ("tiny", {"implementation": "stacked"}, 45),  # two blocks
        ("tiny", {"implementation": "looped"}, 6),
        ("tiny-long", {"implementation": "stacked"}, 12),  # validation takes most
        (
            "glyphs-digits-seg:n_train=60,n_validation=20,n_proxy_train=16,proxy_epochs=1",
            {"implementation": "stacked"},
            10,
        ),
        (
            "glyphs-digits-seg:n_train=60,n_validation=20,n_proxy_train=16,proxy_epochs=1",
            {"implementation": "looped"},
            10,
        ),
    ],
)
def test_the_estimate_is_above_the_measured_peak_and_below_twice_that(
    tiny: str, name: str, settings: dict[str, Any], n: int
) -> None:
    if "tiny-long" not in pairs.names():
        register_tiny("tiny-long", n_validation=400)
    config = EnvConfig(**{**TINY, "pairs": name, **settings})
    need = measured_need(config, CPU)
    peak = _peak_of_the_allocator(config, n)
    assert peak < need(n) < 2 * peak


def test_tensors_count_once_and_as_long_as_they_live() -> None:
    old = torch.zeros(500)
    with CpuMeter() as meter:
        kept = old.view(5, 100)
        assert meter.now == 0
        x = torch.zeros(1000)
        view = x.view(10, 100)[2:]
        y = view + 1
        assert meter.now == 4000 + 3200
        del x
        assert meter.now == 4000 + 3200  # the view keeps all of it
        del view, y
        assert meter.now == 0
        assert meter.take_peak() == 7200
        torch.empty(10, device="meta")
        assert meter.take_peak() == 0
    assert kept.shape == (5, 100)


class _Wide(Optimizee):
    """Linear layers of 300 x 300 weights, beside which a batch takes next to nothing."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        sizes = (3 * SIZE**2, 300, 300, 300, 300)
        self.layers = nn.ModuleList(nn.utils.skip_init(nn.Linear, a, b) for a, b in itertools.pairwise(sizes))
        self.head = nn.utils.skip_init(nn.Linear, sizes[-1], N_CLASSES)
        self.proxy_head = nn.utils.skip_init(nn.Linear, sizes[-1], N_PROXY_CLASSES).requires_grad_(False)
        initialise(self, generator)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = images.flatten(1)
        for layer in self.layers:
            x = layer(x).relu()
        return self.head(x), self.proxy_head(x)

    def layer_groups(self) -> dict[str, list[str]]:
        parts = [*(f"layers.{i}" for i in range(len(self.layers))), "head"]
        return {part: [f"{part}.weight", f"{part}.bias"] for part in parts}


@pytest.mark.parametrize("n", [1, 2])
def test_a_window_of_large_networks_takes_few_copies_of_their_weights(n: int) -> None:
    proxy = TinyProxy(_Wide(new_generator(0)).requires_grad_(False)).eval()
    pair = dataclasses.replace(tiny_pair(), proxy=proxy, make_model=_Wide)
    with CpuMeter() as meter:
        population = LoopedPopulation([pair], n, EnvConfig(**TINY))
        weights = population.weights.nbytes
        assert weights > 4 * FUSED
        population.start({i: Start(0, i, i) for i in range(n)})
        meter.take_peak()
        for _ in range(2):
            population.run(np.full((n, population.n_layers), 0.01), np.full(n, 2))
            # Weights, reference, gradients, momentum.
            assert 4 <= meter.now / weights < 4.3
        # The window's first weights and the guidance's gradient, and two products of the largest group.
        assert 6 < meter.take_peak() / weights < 6 + 2 * max(population.layout.group_sizes) * 4 * n / weights + 0.3


def test_the_highest_stage_depends_on_the_size() -> None:
    need = Need(Line(10.0, 2.0), (Line(100.0, 1.0), Line(0.0, 5.0)), at_a_time=lambda n: min(n, 40), headroom=1.5)
    assert Line.through(2, 14.0, 22.0) == (10.0, 2.0)
    assert need(4) == 1.5 * (10 + 8 + 104)
    assert need(30) == 1.5 * (10 + 60 + 150)
    assert need(100) == 1.5 * (10 + 200 + 200)


@pytest.fixture
def known_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand bytes for a population of one process, a thousand for each optimizee; a million are free."""
    need = Need(Line(10_000.0, 0.0), (Line(0.0, 1000.0),), at_a_time=lambda n: n, headroom=1.0)
    monkeypatch.setattr(memory, "measured_need", lambda config, device: need)
    sysconf, known = os.sysconf, {"SC_AVPHYS_PAGES": 1000, "SC_PAGE_SIZE": 1000}
    monkeypatch.setattr(os, "sysconf", lambda name: known.get(name) or sysconf(name))


def _fitting(config: dict[str, Any] | None = None, **arguments: Any) -> int:
    return memory.fitting_num_envs(EnvConfig(**{**TINY, **(config or {})}), **arguments)


def test_what_fits_is_what_takes_no_more_than_the_share(known_need: None) -> None:
    assert _fitting(share=0.5) == 490
    assert _fitting(share=0.5, limit=300) == 300
    assert _fitting({"workers": 3}, share=0.5) == 3 * 156  # of each worker's third, 10,000 are gone


def test_not_even_one_fits(known_need: None) -> None:
    with pytest.raises(
        ConfigError, match=r"takes 0\.0105 MiB, and 1% of 0\.954 MiB.*smaller batches or a smaller network"
    ):
        _fitting(share=0.01)
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
    for module in (memory, build):
        monkeypatch.setattr(module, "resolve_device", lambda name: memory.torch.device("cuda"))
    assert _fitting(share=1.0) == 200
    assert asked == [16, 20]
