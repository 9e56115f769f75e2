"""Recorded updates go the way of the others. Without a GPU the same buffers are used without a graph."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.inner.build import Plan, make_population
from l2o_env.inner.cuda_graph import GraphedCall
from l2o_env.inner.graphed import GraphedPopulation
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.population import Population
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.window import Start
from tests.tiny import TINY, tiny_pair

TINIES = (tiny_pair(), tiny_pair(seed=1, n_train=45, n_validation=33, name="tiny-4", n_proxy_classes=4))
STARTS = {0: Start(0, 1, 2), 1: Start(1, 3, 4), 2: Start(1, 5, 6)}
RATES = np.array([[0.01, 0.03, 0.1], [0.1, 0.0, 0.02], [0.003, 0.05, 0.3]])
LENGTHS = np.array([[7, 7, 7], [5, 0, 2], [1, 3, 6], [7, 7, 7]])


def _config(**changes: Any) -> EnvConfig:
    return EnvConfig(**{**TINY, "pairs": ("tiny", "tiny-4"), "budget": 40, "window": 7, **changes})


def test_a_call_has_the_same_buffers_each_time() -> None:
    seen: list[int] = []

    def double(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        seen.extend((x.data_ptr(), y.data_ptr()))
        return 2 * x, x + y

    call = GraphedCall(double)
    first = call(torch.tensor([1.0, 2.0]), torch.tensor([10.0]))
    assert first[0].tolist() == [2.0, 4.0]
    assert first[1].tolist() == [11.0, 12.0]
    second = call(torch.tensor([3.0, 4.0]), torch.tensor([20.0]))
    assert second[0].tolist() == [6.0, 8.0]
    assert all(a is b for a, b in zip(first, second, strict=True))  # overwritten
    assert first[1].tolist() == [23.0, 24.0]
    assert seen[:2] == seen[2:]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"guidance": "none"},
        {"guidance_cap": 0.05},
        {"optimizer": "rate_in_momentum", "clip_norm": None},
        {"guidance": "l2sp"},
    ],
    ids=str,
)
def test_graphed_and_stacked_go_the_same_way(changes: dict[str, Any]) -> None:
    config = _config(**changes)
    graphed, stacked = GraphedPopulation(TINIES, 3, config), StackedPopulation(TINIES, 3, config, kernels=False)
    weights = [None, np.array([0.1, 0.5, 0.3]), np.full(3, 0.2), None]
    kept = (graphed.weights, graphed.state["momentum_buffer"], graphed._rates)
    pointers = [tensor.data_ptr() for tensor in kept]
    for population in (graphed, stacked):
        population.start(STARTS)
    for lengths, guidance_weights in zip(LENGTHS, weights, strict=True):
        a, b = (p.run(RATES, lengths, guidance_weights) for p in (graphed, stacked))
        assert torch.equal(graphed.weights, stacked.weights)
        assert torch.equal(graphed.state["momentum_buffer"], stacked.state["momentum_buffer"])
        for name, value in a.layers.items():
            np.testing.assert_array_equal(value, b.layers[name], err_msg=name)
        np.testing.assert_array_equal(a.measurements.train_kl, b.measurements.train_kl)
    assert (graphed.weights - graphed.reference).norm() > 0.1
    # What a graph has recorded stays where it is.
    assert pointers == [
        tensor.data_ptr() for tensor in (graphed.weights, graphed.state["momentum_buffer"], graphed._rates)
    ]
    state = graphed.get_state()
    graphed.run(RATES, LENGTHS[2])
    graphed.set_state(state)
    stacked.set_state(state)
    for population in (graphed, stacked):
        population.run(RATES, LENGTHS[1])
    assert torch.equal(graphed.weights, stacked.weights)


def test_one_that_diverges_leaves_the_others_alone() -> None:
    wild = RATES.copy()
    wild[1] = 1e38
    calm, mixed = (GraphedPopulation(TINIES, 3, _config()) for _ in range(2))
    for population in (calm, mixed):
        population.start(STARTS)
    expected, found = calm.run(RATES, LENGTHS[0]), mixed.run(wild, LENGTHS[0])
    np.testing.assert_array_equal(found.diverged, [False, True, False])
    assert torch.equal(calm.weights[[0, 2]], mixed.weights[[0, 2]])
    np.testing.assert_array_equal(found.layers["drift"][[0, 2]], expected.layers["drift"][[0, 2]])


def test_graphs_are_taken_on_a_gpu_unless_they_are_switched_off(
    tinies: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not isinstance(Plan("stacked", 2, _config())(TINIES), GraphedPopulation)
    # The populations themselves are of the CPU here.
    monkeypatch.setattr("l2o_env.inner.build.resolve_device", lambda name: torch.device("cuda"))
    for n in (1, 40):
        assert type(make_population(_config(), n)) is GraphedPopulation
    assert type(make_population(_config(cuda_graphs=False), 2)) is StackedPopulation
    assert type(make_population(_config(cuda_graphs=False), 1)) is LoopedPopulation
    assert type(make_population(_config(precision="bf16"), 2)) is LoopedPopulation


# --- how exact each path is ------------------------------------------------------------------------------------------


def _kinds() -> dict[str, tuple[Population, float]]:
    config = _config()
    return {
        "stacked": (StackedPopulation(TINIES, 3, config, kernels=False), 2e-5),
        "graphed": (GraphedPopulation(TINIES, 3, config), 2e-5),
        "looped": (LoopedPopulation(TINIES, 3, config), 2e-5),
        "bf16": (LoopedPopulation(TINIES, 3, dataclasses.replace(config, precision="bf16")), 0.1),
    }


@pytest.mark.parametrize("kind", ["stacked", "graphed", "looped", "bf16"])
def test_distance_from_the_float64_reference(kind: str) -> None:
    population, bound = _kinds()[kind]
    reference = LoopedPopulation(TINIES, 3, _config(), torch.float64)
    for each in (population, reference):
        each.start(STARTS)
        for _ in range(3):
            each.run(RATES, LENGTHS[0])
    moved = reference.weights - reference.reference
    error = ((population.weights.double() - population.reference.double()) - moved).norm() / moved.norm()
    # In mixed precision the distance is there too: it is not float32 by mistake.
    assert (1e-3 if kind == "bf16" else 1e-9) < error < bound


def test_mixed_precision_computes_in_bf16_and_keeps_float32_weights() -> None:
    population = LoopedPopulation(TINIES[:1], 2, _config(pairs=("tiny",), precision="bf16"))
    population.start({0: Start(0, 1, 2), 1: Start(0, 1, 2)})  # the second is a copy of the first
    seen: list[tuple[torch.dtype, bool]] = []
    for model in population._models:
        stem = model.get_submodule("stem")
        stem.register_forward_hook(
            lambda module, inputs, output: seen.append(
                (output.dtype, inputs[0].is_contiguous(memory_format=torch.channels_last))
            )
        )
    population.run(RATES[:2], np.array([3, 3]))
    # Three training batches and one validation of each.
    assert seen == [(torch.bfloat16, True)] * 8
    assert population.weights.dtype == torch.float32
    assert not torch.equal(population.weights[0], population.weights[1])
    for split in ("target", "proxy_test"):
        assert population.evaluate(split).ce.dtype == torch.float32


def test_a_stacked_population_has_one_precision() -> None:
    with pytest.raises(ConfigError, match=r"precision is 'bf16'.*implementation='looped'"):
        StackedPopulation(TINIES, 2, _config(precision="bf16"))
    with pytest.raises(ConfigError, match=r"Unknown precision 'fp16'.*'bf16'"):
        _config(precision="fp16")
