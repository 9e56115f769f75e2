"""Layer statistics against numbers computed by hand, and against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from l2o_env.inner import statistics
from l2o_env.inner.statistics import (
    HEAD_FIELDS,
    LAYER_FIELDS,
    NOISE,
    PARTS,
    LayerStatistics,
    all_finite,
    gradient_sums,
    layer_statistics,
)
from l2o_env.models.base import new_generator
from l2o_env.models.layout import Layout
from tests.tiny import TinyNet, TwoLayers

LAYOUT = Layout.of(TwoLayers())
PART = PARTS["cpu"]
BATCH = ("gradient", "guidance_gradient", "momentum")
WINDOW = ("weights", "reference", "window_start")


def _of(layout: Layout, flat: dict[str, Tensor], guidance_weight: float | Tensor = 0.5) -> LayerStatistics:
    """The statistics of flat tensors by name."""
    sums = gradient_sums(layout, guidance_weight=guidance_weight, **{name: flat[name] for name in BATCH})
    return layer_statistics(layout, gradients=sums, **{name: flat[name] for name in WINDOW})


def _random(layout: Layout, n: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = new_generator(1)
    return {name: torch.randn(n, layout.n_weights, generator=generator, dtype=dtype) for name in (*BATCH, *WINDOW)}


def _statistics(**changes: list[float]) -> LayerStatistics:
    flat = {
        "weights": [3.0, 4.0, 1.0, 3.0],
        "reference": [3.0, 0.0, 0.0, 2.0],
        "window_start": [0.0, 5.0, 3.0, 4.0],
        "gradient": [4.5, 7.5, 1.5, 2.0],  # of the task: 1, 7, 3, 4
        "guidance_gradient": [7.0, 1.0, -3.0, -4.0],
        "momentum": [5.0, -3.0, 3.0, 4.0],
    }
    return _of(LAYOUT, {k: torch.tensor(v).double() for k, v in {**flat, **changes}.items()})


def test_values_by_hand() -> None:
    found = _statistics()
    expected = {
        "task_rms": [5.0, np.sqrt(12.5)],
        "guidance_rms": [5.0, np.sqrt(12.5)],
        "cosine": [14 / 50, -1.0],
        "update_ratio": [np.sqrt(10) / 5, np.sqrt(5) / 5],
        "drift": [4 / 3, np.sqrt(2) / 2],
        "alignment": [0.0, 1.0],
    }
    for name in LAYER_FIELDS:
        np.testing.assert_allclose(getattr(found, name), expected[name], rtol=1e-9, err_msg=name)
    assert found.head_mean.item() == 2.0
    assert found.head_std.item() == 1.0


def test_without_momentum_or_guidance_the_cosines_are_zero() -> None:
    found = _statistics(momentum=[0.0] * 4, guidance_gradient=[0.0] * 4)
    for name in ("alignment", "cosine", "guidance_rms"):
        np.testing.assert_array_equal(getattr(found, name), 0.0)


def test_rounding_errors_have_no_direction() -> None:
    # An optimizee that still equals its proxy has a KL gradient of rounding errors.
    found = _statistics(guidance_gradient=[0.5 * NOISE, 0.0, 2 * NOISE, 0.0])
    assert found.cosine[0] == 0.0
    assert found.cosine[1] == pytest.approx(0.6, rel=1e-4)


def test_small_gradients_do_not_underflow_in_float32() -> None:
    small = torch.tensor([1e-5, 0.0, 3e-5, 4e-5])
    zeros = torch.zeros(4)
    flat = {**dict.fromkeys(WINDOW, zeros), "gradient": 2 * small, "guidance_gradient": small, "momentum": small}
    found = _of(LAYOUT, flat, 1.0)
    torch.testing.assert_close(found.cosine, torch.ones(2), atol=1e-5, rtol=0)
    assert all(getattr(found, name).isfinite().all() for name in (*LAYER_FIELDS, *HEAD_FIELDS))


def test_leading_dimensions_are_optimizees() -> None:
    model = TinyNet(new_generator(0))
    layout = Layout.of(model)
    flat, weight = _random(layout, 3, torch.float64), torch.tensor([[0.5], [0.0], [2.0]], dtype=torch.float64)
    together = _of(layout, flat, weight)
    for i in range(3):
        alone = _of(layout, {name: value[i] for name, value in flat.items()}, weight[i])
        for name in (*LAYER_FIELDS, *HEAD_FIELDS):
            torch.testing.assert_close(getattr(together, name)[i], getattr(alone, name), rtol=1e-12, atol=0)


def test_many_weights_are_summed_up_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout.of(TinyNet(new_generator(0)))
    for n in (2, 3):
        tensors = _random(layout, n)
        side_by_side = _of(layout, tensors)
        with monkeypatch.context() as patch:
            patch.setattr(statistics, "FUSED", layout.n_weights)
            group_by_group = _of(layout, tensors)
        for name, value in vars(group_by_group).items():
            assert torch.equal(value, getattr(side_by_side, name)), name


@pytest.mark.parametrize("n", [1, 3])
def test_a_large_network_is_summed_up_by_parts(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout.of(TinyNet(new_generator(0)))
    tensors = _random(layout, n, torch.float64)
    at_once = _of(layout, tensors)
    monkeypatch.setattr(statistics, "FUSED", 0)
    monkeypatch.setitem(PARTS, "cpu", 7)
    by_parts = _of(layout, tensors)
    for name, value in vars(by_parts).items():
        torch.testing.assert_close(value, getattr(at_once, name), rtol=1e-12, atol=0)


@pytest.mark.parametrize("place", [0, PART - 1, PART, PART + 4])
def test_one_bad_weight_is_found_wherever_it_is(place: int) -> None:
    flat = torch.full((2, PART + 5), 3e38)  # whose sum is not finite in float32
    assert all_finite(flat).tolist() == [True, True]
    for bad in (torch.nan, torch.inf, -torch.inf):
        flat[1, place] = bad
        assert all_finite(flat).tolist() == [True, False]
    assert all_finite(flat[0]).item() is True
