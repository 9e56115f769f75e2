"""Each optimizer against PyTorch's own, and the stacked form of each against the looped one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import prodigyopt
import pytest
import schedulefree
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.guidance import kl_divergence
from l2o_env.inner.graphed import GraphedPopulation
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.population import Population, batch_order
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.window import Start
from l2o_env.models.base import new_generator
from l2o_env.optimizers import RULES
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.splits import in_memory
from tests.tiny import TINY, tiny_pair

NAMES = tuple(RULES)
RATES = {
    "adamw": (0.003, 0.0, 0.01),
    "lion": (0.001, 0.0, 0.003),
    "prodigy": (1.0, 1.0, 1.0),
    "schedule_free": (0.01, 0.01, 0.01),
}
"""A rate for each layer group of the tiny network; one of them is frozen, where rates may differ."""


class Formula(torch.optim.Optimizer):
    """An update as its paper writes it, parameter by parameter."""

    def __init__(self, groups: Any, update: Callable[[Any, Tensor, Tensor, float], None]) -> None:
        super().__init__(groups, {"lr": 0.0})
        self._update = update

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["m"] = torch.zeros_like(p)
                self._update(state["m"], p, p.grad, group["lr"])


def _lion(m: Tensor, p: Tensor, g: Tensor, lr: float) -> None:
    direction = (0.9 * m + 0.1 * g).sign()
    p.copy_(p * (1 - lr * 0.1) - lr * direction)
    m.copy_(0.99 * m + 0.01 * g)


def _rate_in_momentum(m: Tensor, p: Tensor, g: Tensor, lr: float) -> None:
    m.copy_(0.9 * m + lr * (g + 5e-4 * p))
    p.sub_(m)


PLAIN: dict[str, Callable[[Any], Any]] = {
    "adamw": lambda groups: torch.optim.AdamW(groups, betas=(0.9, 0.999), weight_decay=0.01),
    "lion": lambda groups: Formula(groups, _lion),
    "prodigy": lambda groups: prodigyopt.Prodigy(groups, weight_decay=0.01),
    "rate_in_momentum": lambda groups: Formula(groups, _rate_in_momentum),
    "schedule_free": lambda groups: schedulefree.AdamWScheduleFree(groups, weight_decay=0.01, foreach=False),
    "sgd": lambda groups: torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4),
}
"""What others have: PyTorch, the packages of the authors, or the formula."""
EXACT = ("adamw", "sgd")
"""Those that a looped population runs by PyTorch's own optimizer."""


def _config(name: str, **changes: Any) -> EnvConfig:
    return EnvConfig(**{**TINY, "optimizer": name, "budget": 12, "window": 4, "clip_norm": 0.5, **changes})


def _rates(name: str, n: int = 1) -> np.ndarray:
    return np.tile(RATES.get(name, (0.03, 0.0, 0.1)), (n, 1))


def _plain_loop(
    name: str, pair: Pair, config: EnvConfig, start: Start, rates: Any, dtype: torch.dtype = torch.float32
) -> Iterator[Tensor]:
    """What somebody would write without this package: the weights after each update."""
    train = in_memory(pair.train)
    model = pair.make_model(new_generator(start.init_seed)).eval()
    model = model.to(dtype)
    named = dict(model.named_parameters())
    groups = [[named[key] for key in keys] for keys in model.layer_groups().values()]
    params = [p for group in groups for p in group]
    optimizer = PLAIN[name]([{"params": group, "lr": float(lr)} for group, lr in zip(groups, rates, strict=True)])
    with torch.no_grad():
        probs = pair.proxy(train.images).softmax(-1)
    for batch in batch_order(len(train), config, start.batch_seed):
        if name == "schedule_free":
            optimizer.train()
        logits, proxy_logits = model(train.images[batch].to(dtype))
        loss = F.cross_entropy(logits, train.labels[batch])
        loss = loss + config.guidance_weight * kl_divergence(proxy_logits, probs[batch].to(dtype))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 0.5)
        optimizer.step()
        if name == "schedule_free":
            optimizer.eval()
        yield torch.cat([p.detach().reshape(-1) for p in params])


@pytest.mark.parametrize("name", NAMES)
def test_a_looped_optimizee_equals_a_plain_loop(name: str) -> None:
    """Bit for bit in float32 where PyTorch has the optimizer, else to the rounding of float64."""
    dtype = torch.float32 if name in EXACT else torch.float64
    pair, config, start = tiny_pair(), _config(name), Start(0, 11, 12)
    population = LoopedPopulation([pair], 2, config, dtype)
    population.start({0: start, 1: Start(0, 21, 22)})
    plain = list(_plain_loop(name, pair, config, start, _rates(name)[0], dtype))
    tolerance = 0.0 if name in EXACT else 1e-7  # the proxy's probabilities are float32 in the plain loop
    for window in range(3):
        population.run(_rates(name, 2), np.full(2, 4))
        torch.testing.assert_close(population.weights[0], plain[4 * window + 3], rtol=tolerance, atol=tolerance)
    assert (population.weights - population.reference).abs().max() > 1e-3


def _three(kind: type[Population], name: str, **changes: Any) -> Population:
    dtype = torch.float64
    options = {"kernels": False} if kind is StackedPopulation else {}
    population = kind([tiny_pair()], 3, _config(name, **changes), dtype, **options)
    population.start({i: Start(0, 2 * i, 2 * i + 1) for i in range(3)})
    return population


@pytest.mark.parametrize("kind", [StackedPopulation, GraphedPopulation])
@pytest.mark.parametrize("clip_norm", [None, 0.5])
@pytest.mark.parametrize("name", NAMES)
def test_stacked_goes_the_same_way_as_looped(name: str, clip_norm: float | None, kind: type[Population]) -> None:
    looped, other = (_three(k, name, clip_norm=clip_norm) for k in (LoopedPopulation, kind))
    for lengths in ([4, 4, 4], [3, 0, 4], [1, 2, 4]):  # in step, and out of step
        windows = [population.run(_rates(name, 3), np.array(lengths)) for population in (looped, other)]
        for layer in windows[0].layers:
            np.testing.assert_allclose(windows[0].layers[layer], windows[1].layers[layer], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(other.weights, looped.weights, rtol=1e-9, atol=1e-11)
    for buffer, expected in looped.state.items():
        torch.testing.assert_close(other.state[buffer], expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("kind", [LoopedPopulation, StackedPopulation])
@pytest.mark.parametrize("name", NAMES)
def test_a_state_is_exact(name: str, kind: type[Population]) -> None:
    population, other = _three(kind, name), _three(kind, name)
    population.run(_rates(name, 3), np.array([4, 2, 4]))
    other.set_state(population.get_state())
    for each in (population, other):
        each.run(_rates(name, 3), np.array([4, 4, 2]))
    assert torch.equal(population.weights, other.weights)
    for buffer, expected in population.state.items():
        assert torch.equal(other.state[buffer], expected)


@pytest.mark.parametrize("kind", [LoopedPopulation, StackedPopulation])
@pytest.mark.parametrize("name", NAMES)
def test_who_diverges_starts_without_a_past(name: str, kind: type[Population]) -> None:
    population = _three(kind, name)
    rates = _rates(name, 3)
    rates[1] = np.inf if name == "prodigy" else 1e200
    window = population.run(rates, np.full(3, 4))
    assert window.diverged.tolist() == [False, True, False]
    for buffer in population.state.values():
        assert not buffer[1].any()
    assert population.state[population.rule.buffers[0]][[0, 2]].any()


@pytest.mark.parametrize("name", NAMES)
def test_statistics_mean_the_same_for_each(name: str) -> None:
    """A window of one update: its size over the weights, and the cosine of the gradient and those before."""
    population = _three(LoopedPopulation, name, weight_decay=0.0, clip_norm=None)
    population.run(_rates(name, 3), np.full(3, 4))
    before = population.weights.clone()
    window = population.run(_rates(name, 3), np.ones(3, np.int64))
    layout = population.layout
    change = layout.group_sums((population.weights - before).square()) / layout.group_sums(before.square())
    np.testing.assert_allclose(window.layers["update_ratio"], change.sqrt(), rtol=1e-6, atol=1e-12)
    assert ((window.layers["update_ratio"] == 0) == (_rates(name, 3) == 0)).all()
    assert (np.abs(window.layers["alignment"]) <= 1).all()
    assert (np.abs(window.layers["alignment"]).max() > 0.01) == (population.rule.momentum_buffer is not None)


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.one_rate])
def test_what_takes_one_rate_refuses_several(name: str) -> None:
    population = _three(StackedPopulation, name)
    with pytest.raises(ConfigError, match=rf"{name}' takes one learning rate .*; got \[1.0, 2.0, 1.0\]"):
        population.run(np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 1.0]]), np.full(3, 4))


def test_settings_suit_the_optimizer_unless_they_are_given() -> None:
    for name, rule in RULES.items():
        config = EnvConfig(optimizer=name)
        for key, value in rule.defaults._asdict().items():
            assert getattr(config, key) == value
        assert EnvConfig(optimizer=name, base_lr=0.5, weight_decay=0.0).base_lr == 0.5
    changed = EnvConfig(budget=40, window=10, lr_max=0.2).with_optimizer("lion", batch_size=8)
    assert (changed.lr_max, changed.weight_decay, changed.budget, changed.batch_size) == (3e-3, 0.1, 40, 8)
    with pytest.raises(ConfigError, match=r"Unknown optimizer 'adam'\. Did you mean 'adamw'"):
        EnvConfig(optimizer="adam")
    with pytest.raises(ConfigError, match=r"beta2 is 1\.0; expected a number in \[0, 1\)"):
        EnvConfig(optimizer="adamw", beta2=1.0)
