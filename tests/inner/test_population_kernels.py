"""A population on compiled kernels goes the way of the looped one, and of the one that PyTorch batches."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from l2o_env import pairs
from l2o_env.config import EnvConfig
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.population import Population
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.window import Start
from l2o_env.models.base import new_generator
from l2o_env.models.small import SmallNet, SmallProxy


def _images(n: int, seed: int) -> pairs.Split:
    generator = new_generator(seed)
    labels = torch.arange(n) % 10
    pattern = torch.randn(10, 3, 16, 16, generator=new_generator(0))
    return pairs.Split(pattern[labels] + torch.randn(n, 3, 16, 16, generator=generator), labels)


def _make(proxy: SmallProxy, n_proxy_classes: int, backbone: bool, generator: torch.Generator) -> SmallNet:
    model = SmallNet(10, n_proxy_classes, generator)
    model.load_proxy(proxy, backbone=backbone)
    return model


def _pair(n_proxy_classes: int) -> pairs.Pair:
    """Noisy patterns in the shape of the embedded pairs, with a proxy that was never trained."""
    proxy = SmallProxy(n_proxy_classes, new_generator(n_proxy_classes)).requires_grad_(False)
    test = _images(20, 3)
    return pairs.Pair(
        name=f"small-{n_proxy_classes}",
        train=_images(80, 1),
        validation=_images(30, 2),
        target=test,
        proxy_test=pairs.Split(test.images, test.labels % n_proxy_classes),
        proxy=proxy,
        make_model=partial(_make, proxy, n_proxy_classes, True),
        make_random_model=partial(_make, proxy, n_proxy_classes, False),
        n_classes=10,
        n_proxy_classes=n_proxy_classes,
    )


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def _assert_same_way(compiled: Population, other: Population) -> None:
    starts = {0: Start(0, 1, 2), 1: Start(1, 1, 2), 2: Start(0, 3, 4)}
    rates = np.array([[0.01] * 5, [0.003, 0.01, 0.01, 0.03, 0.1], [0.05] * 5])
    for population in (compiled, other):
        population.start(starts)
    for _ in range(2):
        a, b = (population.run(rates, np.full(3, 25)) for population in (compiled, other))
        # Rounding errors grow by training: 50 updates in float32.
        assert _relative(compiled.weights - compiled.reference, other.weights - other.reference) < 2e-3
        for name in a.layers:
            np.testing.assert_allclose(a.layers[name], b.layers[name], rtol=2e-2, atol=2e-3, err_msg=name)
        np.testing.assert_allclose(a.measurements.val_ce, b.measurements.val_ce, rtol=2e-3)
        np.testing.assert_allclose(a.measurements.val_kl, b.measurements.val_kl, rtol=5e-3, atol=1e-4)
    for split in ("target", "proxy_test"):
        torch.testing.assert_close(
            compiled.evaluate(split).accuracy, other.evaluate(split).accuracy, atol=0.051, rtol=0
        )


@pytest.mark.parametrize("guidance", ["kl", "none"])
def test_kernels_and_the_loop_go_the_same_way(guidance: str) -> None:
    pytest.importorskip("numba")
    members = (_pair(5), _pair(3))
    config = EnvConfig(budget=50, window=25, device="cpu", optimizer="sgd", guidance=guidance)  # type: ignore[arg-type]
    compiled, looped = StackedPopulation(members, 3, config), LoopedPopulation(members, 3, config)
    assert compiled._kernels is not None
    _assert_same_way(compiled, looped)


def test_without_numba_pytorch_goes_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    members = (_pair(5), _pair(3))
    config = EnvConfig(budget=50, window=25, device="cpu", optimizer="sgd")
    compiled = StackedPopulation(members, 3, config)
    monkeypatch.setitem(sys.modules, "numba", None)
    batched = StackedPopulation(members, 3, config)
    assert compiled._kernels is not None and batched._kernels is None
    _assert_same_way(compiled, batched)


def test_kernels_take_a_weight_of_each_optimizee() -> None:
    pytest.importorskip("numba")
    config = EnvConfig(budget=4, window=4, device="cpu")
    compiled, looped = StackedPopulation([_pair(5)], 3, config), LoopedPopulation([_pair(5)], 3, config)
    weights, gradients = np.array([0.0, 0.3, 5.0]), []
    for population in (compiled, looped):
        population.start({i: Start(0, 1, 2) for i in range(3)})
        population.run(np.full((3, 5), 0.05), np.full(3, 2), weights)
        gradients.append(population._gradients(population._batches(np.arange(1))[:, 0], separate=False).total)
    assert _relative(*gradients) < 1e-3
    assert _relative(gradients[0][0], gradients[0][2]) > 0.1
