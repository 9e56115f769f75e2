"""Accelerate takes the scheduler as it is: how often it calls it does not matter; it saves and loads its state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from l2o_env import LearnedRates, param_groups
from tests.training.loops import batches, network, policy, scheduled, train

accelerate = pytest.importorskip("accelerate")
pytestmark = pytest.mark.filterwarnings("ignore")  # of what it and its dependencies say to each other


def _prepared(gathered: int = 1) -> tuple[Any, Any, Any, Any, LearnedRates]:
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=gathered)
    model, proxy = network()
    optimizer = torch.optim.AdamW(param_groups(model), lr=1e-3)
    model, optimizer = accelerator.prepare(model, optimizer)
    rates = LearnedRates(optimizer, model, policy(), total_updates=12, window=3, proxy=proxy)
    return accelerator, model, optimizer, accelerator.prepare(rates), rates


def _train(prepared: Any, data: Any) -> list[list[float]]:
    accelerator, model, optimizer, scheduler, rates = prepared
    made = []
    for x, y in data:
        with accelerator.accumulate(model):
            loss = rates.observe(F.cross_entropy(model(x), y)) + rates.guidance(x)
            accelerator.backward(loss)
            optimizer.step()
            scheduler.step()
            if accelerator.sync_gradients:
                made.append(rates.get_last_lr())
            optimizer.zero_grad()
    return made


@pytest.mark.parametrize("gathered", [1, 2])
def test_it_sets_the_rates_of_the_plain_loop(gathered: int) -> None:
    expected = train(*scheduled(), batches(12))
    parts = [part for x, y in batches(12) for part in zip(x.chunk(gathered), y.chunk(gathered), strict=True)]
    made = _train(_prepared(gathered), parts)
    np.testing.assert_allclose(made[:-1:3], np.array(expected)[::3], rtol=1e-3) if gathered == 1 else None
    np.testing.assert_allclose(made[-1], expected[-1], rtol=1e-3)


def test_its_saved_state_goes_on_in_the_middle_of_a_window(tmp_path: Path) -> None:
    expected = _train(_prepared(), batches(12))
    first = _prepared()
    made = _train(first, batches(12)[:7])
    first[0].save_state(str(tmp_path))
    second = _prepared()
    second[0].load_state(str(tmp_path))
    assert made + _train(second, batches(12)[7:]) == expected
