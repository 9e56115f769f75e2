from __future__ import annotations

import torch

from l2o_env.adaptation.simnet import class_means, orthonormality
from tests.adaptation.made import adaptation


def test_prototypes_are_means_of_their_class() -> None:
    means, counts = class_means(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 5.0]]), torch.tensor([2, 2, 0]), 3)
    assert means.tolist() == [[5.0, 5.0], [0.0, 0.0], [2.0, 3.0]]
    assert counts.tolist() == [1, 0, 2]


def test_the_regulariser_by_hand() -> None:
    assert orthonormality(torch.eye(3)) == 0
    assert orthonormality(torch.tensor([[2.0, 0.0], [1.0, 1.0]])) == (4 - 1) ** 2 + 2 * 2**2 + (2 - 1) ** 2


def test_it_learns_the_source() -> None:
    run = adaptation("simnet", rounds=4, updates=30)
    losses = [run.run_round().losses["ce"] for _ in range(4)]
    assert losses[-1] < 0.8 * losses[0]
