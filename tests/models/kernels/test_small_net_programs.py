"""What the programs of the embedded network say; that they compute its gradients, the kernels' tests tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from l2o_env.models import SmallNet
from l2o_env.models.kernels import program
from l2o_env.models.kernels.small_net_programs import SmallNetPrograms

CONVOLUTIONS = 1 + 3 * 2 + 2 + 3
"""Stem, two in each of three blocks, two shortcuts, and three linear layers."""


@pytest.fixture(scope="module")
def programs() -> SmallNetPrograms:
    return SmallNetPrograms(SmallNet(10, 5, torch.Generator()))


def test_shapes_are_the_networks(programs: SmallNetPrograms) -> None:
    assert (programs.n_classes, programs.n_proxy_classes, programs.n_features) == (10, 5, 32)
    net = SmallNet(10, 5, torch.Generator())
    assert programs.n_weights == sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert programs.n_weights + 5 * 32 + 5 <= programs.image < programs.n_floats < 200_000


def test_weights_are_repacked_first_and_only_once(programs: SmallNetPrograms) -> None:
    assert programs.n_once == CONVOLUTIONS
    for rows in (programs.of_total, programs.of_both, programs.of_logits):
        assert (rows.dtype, rows.shape[1]) == (np.int64, program.WIDTH)
        np.testing.assert_array_equal(rows[:, 0] == program.PACK, np.arange(len(rows)) < CONVOLUTIONS)


def test_both_gradients_share_the_forward_pass(programs: SmallNetPrograms) -> None:
    n_total = len(programs.of_total)
    np.testing.assert_array_equal(programs.of_both[:n_total], programs.of_total)
    alone = programs.of_both[n_total:, 0].tolist()
    assert alone[0] == program.DIVERGENCE
    assert program.NORMALISE not in alone
    # Of the trained layers, the divergence reaches those below the heads.
    assert (alone.count(program.WEIGHT_GRADIENT), alone.count(program.BIAS_GRADIENT)) == (CONVOLUTIONS - 3, 0)
    of_total = programs.of_total[:, 0].tolist()
    assert (of_total.count(program.WEIGHT_GRADIENT), of_total.count(program.BIAS_GRADIENT)) == (CONVOLUTIONS - 1, 2)


def test_the_logits_need_no_gradient(programs: SmallNetPrograms) -> None:
    assert programs.of_logits[-1, 0] == program.LOGITS
    assert not {program.WEIGHT_GRADIENT, program.CROSS_ENTROPY, program.DIVERGENCE} & set(programs.of_logits[:, 0])
