from __future__ import annotations

import torch

from l2o_env.adaptation.adr import dropped, symmetric_kl
from l2o_env.models.base import new_generator
from tests.adaptation.made import adaptation


def test_the_divergence_by_hand() -> None:
    p, q = torch.tensor([[0.9, 0.1]]), torch.tensor([[0.5, 0.5]])
    both = (p * (p / q).log()).sum() + (q * (q / p).log()).sum()
    torch.testing.assert_close(symmetric_kl(p.log(), q.log()), both / 2 / 2)  # half of both, mean over two classes
    assert symmetric_kl(p.log(), p.log()) == 0


def test_dropout_keeps_the_mean() -> None:
    found = dropped(torch.ones(4000, 2), 0.25, new_generator(0))
    torch.testing.assert_close(found.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert abs(float(found.mean()) - 1) < 0.03


def test_predictions_are_those_of_a_head_without_dropout() -> None:
    run = adaptation("adr")
    run.run_round()
    images = torch.randn(5, 3, 8, 8, generator=new_generator(2))
    assert torch.equal(run.method.predict(images), run.method.predict(images))
    assert not torch.equal(run.model.head.weight, run.method.networks["critic"].weight)  # type: ignore[union-attr,arg-type]
