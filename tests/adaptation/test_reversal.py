from __future__ import annotations

import torch

from l2o_env.adaptation.reversal import discriminator, domain_loss, ramp, reverse


def test_numbers_stay_and_gradients_turn_round() -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = reverse(x, 0.5)
    assert y.tolist() == [1.0, -2.0]
    (y * torch.tensor([3.0, 4.0])).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [-1.5, -2.0]


def test_the_factor_grows() -> None:
    assert ramp(0.0) == 0
    assert 0.98 < ramp(0.5) < ramp(1.0) < 1
    assert ramp(1.0, 0.1) == 0.1 * ramp(1.0)


def test_a_discriminator_that_cannot_tell_pays_log_two() -> None:
    zero = torch.zeros(4, 1)
    torch.testing.assert_close(domain_loss(zero, zero[:2]), torch.tensor(2.0).log())
    assert [layer.out_features for layer in discriminator(5, 1024) if hasattr(layer, "out_features")] == [20, 20, 1]
