"""The losses of a tile that is not full, against PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from l2o_env.models.base import new_generator
from l2o_env.models.kernels.losses import cross_entropy, divergence
from l2o_env.models.kernels.tiles import TILE, padded
from tests.models.kernels.buffers import Buffers

N, COUNT, SHARE = 5, 11, 0.25
INDEX = np.arange(COUNT)[::-1].copy()
"""Which image each sample is."""


@pytest.fixture
def logits() -> torch.Tensor:
    """Logits of a tile, some of which would overflow."""
    drawn = torch.randn(TILE, N, generator=new_generator(0))
    drawn[3] += 200
    return drawn.requires_grad_()


def _placed(logits: torch.Tensor) -> tuple[Buffers, int, int]:
    buffers = Buffers()
    return buffers, buffers.put_activations(logits[:, :, None, None]), buffers.place(padded(N), TILE)


def test_cross_entropy(logits: torch.Tensor) -> None:
    labels = np.arange(COUNT) % N
    buffers, place, d_logits = _placed(logits)
    buffers.floats[d_logits : d_logits + N * TILE] = 7  # what was there counts for nothing
    loss = cross_entropy(buffers.floats, place, d_logits, N, labels, INDEX, COUNT, SHARE)
    expected = F.cross_entropy(logits[:COUNT], torch.from_numpy(labels[INDEX]), reduction="sum")
    (gradient,) = torch.autograd.grad(expected, logits)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(buffers.activations(d_logits, N, 1, 1)[..., 0, 0], SHARE * gradient)
    assert not gradient[COUNT:].any()


def test_divergence(logits: torch.Tensor) -> None:
    probs = torch.rand(COUNT, N, generator=new_generator(1)).softmax(1)
    probs[2] = F.one_hot(torch.tensor(1), N)  # 0 log 0 is 0
    buffers, place, d_logits = _placed(logits)
    loss = divergence(buffers.floats, place, d_logits, N, probs.numpy(), INDEX, COUNT, SHARE)
    expected = F.kl_div(logits[:COUNT].log_softmax(1), probs[INDEX], reduction="sum")
    (gradient,) = torch.autograd.grad(expected, logits)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(buffers.activations(d_logits, N, 1, 1)[..., 0, 0], SHARE * gradient)
