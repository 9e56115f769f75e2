"""Biases, masks and means, by hand."""

from __future__ import annotations

import numpy as np
import torch

from l2o_env.models.base import new_generator
from l2o_env.models.kernels.layers import add_bias, bias_gradient, mask, mean, mean_backward
from l2o_env.models.kernels.tiles import TILE
from tests.models.kernels.buffers import Buffers


def _values(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=new_generator(0))


def test_a_bias_is_added_and_what_is_negative_cut_off() -> None:
    x, bias = _values(TILE, 4, 1, 1), torch.tensor([1.0, -2.0, 0.5, 0.0])
    for relu in (False, True):
        buffers = Buffers()
        place = buffers.put_activations(x)
        add_bias(buffers.floats, place, buffers.put(bias), 4, relu)
        expected = x + bias[:, None, None]
        assert torch.equal(buffers.activations(place, 4, 1, 1), expected.relu() if relu else expected)


def test_the_gradient_of_a_bias_is_a_sum_over_samples() -> None:
    buffers, dy, gradient = Buffers(), _values(TILE, 4, 1, 1), np.ones(6, np.float32)
    bias_gradient(buffers.floats, buffers.put_activations(dy), 1, 3, gradient)
    expected = 1 + dy.sum((0, 2, 3)).numpy()
    np.testing.assert_allclose(gradient, [1, *expected[:3], 1, 1], rtol=1e-5)


def test_a_mask_lets_through_where_the_output_is_positive() -> None:
    buffers, y, dy = Buffers(), _values(TILE, 4, 1, 1).relu(), torch.ones(TILE, 4, 1, 1)
    places = [buffers.put_activations(values) for values in (y, dy)]
    mask(buffers.floats, *places, 4)
    assert torch.equal(buffers.activations(places[1], 4, 1, 1), (y > 0).float())


def test_a_mean_and_its_gradient() -> None:
    buffers, x = Buffers(), _values(TILE, 4, 2, 2)
    at_x, at_y, at_dx = buffers.put_activations(x), buffers.place(4, TILE), buffers.place(4, 4, TILE)
    mean(buffers.floats, at_x, at_y, 4, 4)
    found = buffers.activations(at_y, 4, 1, 1)
    torch.testing.assert_close(found, x.mean((2, 3), keepdim=True))
    mean_backward(buffers.floats, at_y, at_dx, 4, 4)
    assert torch.equal(buffers.activations(at_dx, 4, 2, 2), (found / 4).expand(-1, -1, 2, 2))
