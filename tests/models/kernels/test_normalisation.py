"""GroupNorm with a shortcut and ReLU, in one pass, against PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from l2o_env.models.base import new_generator
from l2o_env.models.kernels.normalisation import EPSILON, GROUPS, Norm, normalise, normalise_backward
from l2o_env.models.kernels.tiles import TILE
from tests.models.kernels.buffers import Buffers


@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("n", [4, 8])
def test_forward_and_backward_are_pytorchs(n: int, shortcut: bool) -> None:
    generator = new_generator(0)
    x, beside, dy = (torch.randn(TILE, n, 3, 3, generator=generator) for _ in range(3))
    gain, shift = (torch.randn(n, generator=generator).requires_grad_() for _ in range(2))
    x.requires_grad_()
    before = F.group_norm(x, GROUPS, gain, shift, EPSILON) + (beside if shortcut else 0)
    y = before.relu()
    dx, of_gain, of_shift, of_before = torch.autograd.grad(y, (x, gain, shift, before), dy)

    buffers = Buffers()
    at_weight = buffers.put(torch.cat([gain, shift]))
    at_x, at_beside, at_dy = (buffers.put_activations(values) for values in (x, beside, dy))
    at_y, at_dx = (buffers.place(3, 3, n, TILE) for _ in range(2))
    norm = Norm(n, 9, at_weight, at_x, at_y, buffers.place(GROUPS, TILE))
    normalise(buffers.floats, norm, at_beside if shortcut else -1)
    torch.testing.assert_close(buffers.activations(at_y, n, 3, 3), y, rtol=1e-4, atol=1e-5)
    gradient = np.ones(at_weight + 2 * n, np.float32)
    normalise_backward(buffers.floats, norm, at_dy, at_dx, gradient)
    torch.testing.assert_close(buffers.activations(at_dx, n, 3, 3), dx, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(buffers.activations(at_dy, n, 3, 3), of_before)  # what the shortcut goes on with
    added = torch.from_numpy(gradient - 1)[at_weight:]
    torch.testing.assert_close(added, torch.cat([of_gain, of_shift]), rtol=1e-4, atol=1e-4)
