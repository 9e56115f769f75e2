"""Compiled networks go the same way as others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.inner import torch_compile as module
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.population import Population
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.torch_compile import compiled
from l2o_env.inner.window import Start
from tests.tiny import TINY, tiny_pair

KINDS = (LoopedPopulation, StackedPopulation)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch.compiler.reset()


def _run(kind: type[Population], **settings: object) -> tuple[torch.Tensor, np.ndarray]:
    """Weights after two windows, with one that has the guidance's gradient, and that gradient's size."""
    population = kind([tiny_pair()], 2, EnvConfig(**{**TINY, **settings}))  # type: ignore[arg-type]
    population.start({i: Start(0, i, i) for i in range(2)})
    for _ in range(2):
        window = population.run(np.full((2, 3), 0.05), np.full(2, 3))
    return population.weights, window.layers["guidance_rms"]


@pytest.mark.parametrize("guidance", ["kl", "l2sp", "none", "feature"])
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_networks_go_the_same_way(
    kind: type[Population], guidance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKEND", "aot_eager")  # PyTorch's own kernels behind all of the machinery: quick
    weights, rms = _run(kind, guidance=guidance)
    weights_compiled, rms_compiled = _run(kind, guidance=guidance, compile=True)
    torch.testing.assert_close(weights_compiled, weights)
    np.testing.assert_allclose(rms_compiled, rms, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_one_architecture_share_what_is_compiled(
    kind: type[Population], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._dynamo.testing import CompileCounterWithBackend

    counter = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(module, "BACKEND", counter)
    _run(kind, compile=True)
    assert counter.frame_count == 2  # a batch to train on, and the validation images without gradients
    _run(kind, compile=True)
    assert counter.frame_count == 2  # and so do populations


def test_the_real_compiler_goes_the_same_way() -> None:
    torch.testing.assert_close(_run(LoopedPopulation, compile=True)[0], _run(LoopedPopulation)[0])


def test_what_cannot_be_compiled_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(module, "BACKEND", broken)
    with pytest.raises(ConfigError, match=r"cannot be compiled here \(.*no compiler.*compile=False"):
        compiled(torch.sin)(torch.ones(2))
