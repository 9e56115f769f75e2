"""Optimizers in their other implementations, gathered batches, half precision, compiled networks and updates."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch.nn import functional as F  # noqa: N812

from l2o_env import ConfigError
from tests.training.loops import batches, policy, scheduled, train
from tests.training.test_scheduler import Asked

IMPLEMENTATIONS: dict[str, tuple[str, Callable[..., torch.optim.Optimizer], Any]] = {
    "adam": ("adamw", partial(torch.optim.Adam, weight_decay=0.0), 1e-3),
    "fused": ("adamw", partial(torch.optim.AdamW, fused=True), 1e-3),
    "foreach": ("adamw", partial(torch.optim.AdamW, foreach=True), 1e-3),
    "tensor": ("adamw", torch.optim.AdamW, torch.tensor(1e-3)),
    "fused tensor": ("adamw", partial(torch.optim.AdamW, fused=True), torch.tensor(1e-3)),
    "sgd": ("sgd", partial(torch.optim.SGD, momentum=0.9), 0.02),
    "sgd foreach": ("sgd", partial(torch.optim.SGD, momentum=0.9, foreach=True), 0.02),
    "sgd fused": ("sgd", partial(torch.optim.SGD, momentum=0.9, fused=True), 0.02),
}


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_every_implementation_of_an_optimizer_gets_the_same_rates(name: str) -> None:
    rule, kind, lr = IMPLEMENTATIONS[name]
    plain: Any = torch.optim.AdamW if rule == "adamw" else partial(torch.optim.SGD, momentum=0.9)
    decay = 0.0 if name == "adam" else 0.01
    expected = train(*scheduled(partial(plain, weight_decay=decay), policy(rule), lr=float(lr)), batches(12))
    keywords = {} if name == "adam" else {"weight_decay": decay}
    model, optimizer, rates = scheduled(partial(kind, **keywords), policy(rule), lr=lr)
    np.testing.assert_allclose(train(model, optimizer, rates, batches(12)), expected, rtol=1e-4)
    of_groups = [group["lr"] for group in optimizer.param_groups]
    if isinstance(lr, torch.Tensor):  # in place, one for each group
        assert all(isinstance(rate, torch.Tensor) for rate in of_groups)
        assert len({rate.data_ptr() for rate in of_groups}) == 3
        assert rates.get_last_lr()[0] is not of_groups[0]
    else:
        assert all(isinstance(rate, float) for rate in of_groups)


@pytest.mark.parametrize("divided", [True, False])
def test_gathered_batches_are_one_update(divided: bool) -> None:
    expected = train(*scheduled(), batches(12))
    model, optimizer, rates = scheduled()
    made = []
    for k, (x, y) in enumerate(batches(12)):
        for a, b in zip(x.split(4), y.split(4), strict=True):
            loss = rates.observe(F.cross_entropy(model(a), b)) + rates.guidance(a)
            (loss / 2 if divided else loss).backward()
            rates.step()  # some trainers call it for each
        optimizer.step()
        made.append([group["lr"] for group in optimizer.param_groups])
        rates.step()
        optimizer.zero_grad()
        assert rates.updates == k + 1
    np.testing.assert_allclose(made[0], expected[0], rtol=1e-4 if divided else 0.2)
    if divided:
        np.testing.assert_allclose(made, expected, rtol=1e-3)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("unscaled", [False, True])
def test_gradients_of_half_precision_are_seen_as_they_are(fused: bool, unscaled: bool) -> None:
    expected = train(*scheduled(), batches(12))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=4)
    model, optimizer, rates = scheduled(partial(torch.optim.AdamW, fused=fused), scaler=scaler)
    made = []
    for x, y in batches(12):
        loss = rates.observe(F.cross_entropy(model(x), y)) + rates.guidance(x)
        scaler.scale(loss).backward()
        if unscaled:
            scaler.unscale_(optimizer)
            rates.measure()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1e6)
        scaler.step(optimizer)
        made.append([group["lr"] for group in optimizer.param_groups])
        scaler.update()
        rates.step()
        optimizer.zero_grad()
    np.testing.assert_allclose(made, expected, rtol=1e-3)


@pytest.mark.parametrize("fused", [False, True])
def test_updates_that_overflow_are_none(fused: bool) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    model, optimizer, rates = scheduled(
        partial(torch.optim.AdamW, fused=fused), Asked(), total=6, window=2, guided=False
    )
    overflowing, made = (0, 1, 3, 5), []
    for k, (x, y) in enumerate(batches(10)):
        loss = rates.observe(F.cross_entropy(model(x), y))
        scaler.scale(loss * (torch.inf if k in overflowing else 1.0)).backward()
        scaler.step(optimizer)
        scaler.update()
        if k not in overflowing:
            made.append(optimizer.param_groups[0]["lr"])
        rates.step()
        optimizer.zero_grad()
    assert made == [0.001, 0.001, 0.002, 0.002, 0.003, 0.003]
    assert rates.updates == 6


def test_a_scaler_that_nobody_told_of_is_told() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    model, optimizer, rates = scheduled()
    (x, y), *_ = batches(1)
    scaler.scale(F.cross_entropy(model(x), y) + rates.guidance(x)).backward()
    with pytest.raises(ConfigError, match="with scaler="):
        scaler.step(optimizer)


def test_gradients_may_be_measured_before_they_are_clipped() -> None:
    asked = Asked()
    model, optimizer, rates = scheduled(agent=asked, window=1, guided=False)
    for x, y in batches(4):
        F.cross_entropy(model(x), y).backward()
        rates.measure()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-5)
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
    assert (asked.feature("task_rms") > -4).all()


def test_a_compiled_network_is_compiled_once() -> None:
    expected = train(*scheduled(), batches(12))
    model, optimizer, rates = scheduled()
    counter = CompileCounter()
    made = train(torch.compile(model, backend=counter), optimizer, rates, batches(12))  # type: ignore[arg-type]
    np.testing.assert_allclose(made, expected, rtol=1e-4)
    assert counter.frame_count == 1


@pytest.mark.parametrize("lr", [1e-3, torch.tensor(1e-3)], ids=["float", "tensor"])
def test_a_compiled_update_is_not_compiled_for_each_window(lr: Any) -> None:
    if isinstance(lr, float) and torch.__version__ < (2, 15):
        pytest.skip("older versions compile an update for each rate that is a number")
    expected = train(*scheduled(), batches(12))
    model, optimizer, rates = scheduled(lr=lr)
    counter, made = CompileCounter(), []
    update = torch.compile(lambda: optimizer.step(), backend=counter)
    for x, y in batches(12):
        (rates.observe(F.cross_entropy(model(x), y)) + rates.guidance(x)).backward()
        update()
        made.append([float(group["lr"]) for group in optimizer.param_groups])
        rates.step()
        optimizer.zero_grad()
    np.testing.assert_allclose(made, expected, rtol=1e-3)
    assert counter.frame_count <= (1 if isinstance(lr, torch.Tensor) else 2)
