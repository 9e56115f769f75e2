from __future__ import annotations

import torch

from l2o_env.adaptation.mdd import margin_disparity


def test_it_by_hand() -> None:
    head_s = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # says 0 and 2
    adversary_s = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]]).log()
    head_t = torch.tensor([[0.0, 3.0, 0.0]])  # says 1
    adversary_t = torch.tensor([[0.1, 0.6, 0.3]]).log()
    agree = -(torch.tensor(0.7).log() + torch.tensor(0.4).log()) / 2
    expected = 4 * agree - torch.tensor(1 - 0.6).log()
    torch.testing.assert_close(margin_disparity(head_s, adversary_s, head_t, adversary_t, 4.0), expected)


def test_a_sure_adversary_has_a_finite_gradient() -> None:
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    source = torch.zeros(1, 2)
    margin_disparity(source, source, torch.tensor([[1.0, 0.0]]), logits, 4.0).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([[1.0, -1.0]]))
