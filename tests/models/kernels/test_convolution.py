"""Convolutions of any kernel, stride and number of channels against PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from l2o_env.models.base import new_generator
from l2o_env.models.kernels.convolution import Conv, convolve, pack, weight_gradient
from l2o_env.models.kernels.tiles import TILE, padded
from tests.models.kernels.buffers import Buffers


@pytest.mark.parametrize("size", [1, 4, 6])
@pytest.mark.parametrize("channels", [(3, 8), (4, 4), (5, 6)], ids=str)
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_forward_and_backward_are_pytorchs(kernel: int, stride: int, channels: tuple[int, int], size: int) -> None:
    generator = new_generator(0)
    n_in, n_out = channels
    out_size = -(-size // stride)
    x = torch.randn(TILE, n_in, size, size, generator=generator).requires_grad_()
    weight = torch.randn(n_out, n_in, kernel, kernel, generator=generator).requires_grad_()
    y = F.conv2d(x, weight, stride=stride, padding=kernel // 2)
    dy = torch.randn(y.shape, generator=generator)
    dx, of_weight = torch.autograd.grad(y, (x, weight), dy)

    buffers, wide = Buffers(), (padded(n_in), padded(n_out))
    at_weight, at_x, at_dy = buffers.put(weight), buffers.put_activations(x), buffers.put_activations(dy)
    packed, transposed = (buffers.place(*wide, kernel, kernel) for _ in range(2))
    at_y, at_dx = buffers.place(out_size, out_size, wide[1], TILE), buffers.place(size, size, wide[0], TILE)
    conv = Conv(*wide, size, out_size, kernel, stride, n_in, n_out, at_weight, packed, transposed)
    pack(buffers.floats, conv)
    convolve(buffers.floats, conv, at_x, at_y, 0, 0)
    convolve(buffers.floats, conv, at_dy, at_dx, 1, 0)
    torch.testing.assert_close(buffers.activations(at_y, n_out, out_size, out_size), y, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(buffers.activations(at_dx, n_in, size, size), dx, rtol=1e-4, atol=1e-4)
    convolve(buffers.floats, conv, at_dy, at_dx, 1, 1)  # added to what is there
    torch.testing.assert_close(buffers.activations(at_dx, n_in, size, size), 2 * dx, rtol=1e-4, atol=1e-4)

    gradient = np.ones(at_weight + weight.numel() + 1, np.float32)
    weight_gradient(buffers.floats, conv, at_x, at_dy, gradient)
    added = torch.from_numpy(gradient - 1)
    torch.testing.assert_close(added[at_weight:-1].reshape(weight.shape), of_weight, rtol=1e-4, atol=1e-4)
    assert not added[:at_weight].any() and added[-1] == 0  # nothing of channels that only fill up
