"""What only a GPU can show: no synchronisation within a window, graphs, fused updates, mixed precision, memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.config import EnvConfig
from l2o_env.inner.graphed import GraphedPopulation
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.memory import fitting_num_envs
from l2o_env.inner.population import Population
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.window import Start
from tests.tiny import TINY, tiny_pair

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

PAIRS = [tiny_pair()]
STARTS = {i: Start(0, i, i) for i in range(3)}
RATES = np.tile(np.array([0.01, 0.03, 0.1]), (3, 1))
KINDS: tuple[type[Population], ...] = (StackedPopulation, GraphedPopulation, LoopedPopulation)


def _config(**changes: Any) -> EnvConfig:
    return EnvConfig(**{**TINY, "budget": 40, "window": 7, "device": "cuda", **changes})


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("lengths", [[7, 7, 7], [7, 0, 3]], ids=["in-step", "out-of-step"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_waits_for_the_gpu_within_a_window(kind: type[Population], lengths: list[int], precision: Any) -> None:
    if precision == "bf16" and kind is not LoopedPopulation:
        pytest.skip("for looped populations")
    population = kind(PAIRS, 3, _config(precision=precision))
    population.start(STARTS)
    population.run(RATES, np.array([7, 7, 7]))  # graphs are recorded, libraries are loaded
    gradients, update = population._gradients, population._update
    updates = 0

    def first(index: Tensor, *, separate: bool) -> Any:
        torch.cuda.set_sync_debug_mode("error")
        return gradients(index, separate=separate)

    def last(active: NDArray[np.bool_], mask: Tensor) -> None:
        nonlocal updates
        update(active, mask)
        updates += 1
        if updates == 7:
            torch.cuda.set_sync_debug_mode("default")

    population._gradients, population._update = first, last  # type: ignore[method-assign]
    try:
        population.run(RATES, np.array(lengths))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert updates == 7


@pytest.mark.parametrize("kind", KINDS)
def test_distance_from_the_float64_reference_of_a_gpu(kind: type[Population]) -> None:
    population, reference = kind(PAIRS, 3, _config()), LoopedPopulation(PAIRS, 3, _config(), torch.float64)
    for each in (population, reference):
        each.start(STARTS)
        for _ in range(3):
            each.run(RATES, np.array([7, 7, 7]))
    moved = reference.weights - reference.reference
    error = (population.weights.double() - population.reference.double() - moved).norm() / moved.norm()
    assert error < 1e-2  # convolutions may be in TF32


def test_updates_are_recorded() -> None:
    population = GraphedPopulation(PAIRS, 3, _config())
    population.start(STARTS)
    population.run(RATES, np.array([7, 7, 7]))
    for call in (*population._losses_and_gradients.values(), population._sgd):
        assert call._graph is not None


def test_as_many_optimizees_as_fit(tiny: str) -> None:
    few = fitting_num_envs(_config(), share=0.05)
    many = fitting_num_envs(_config(), share=0.5)
    assert 1 <= few < many
