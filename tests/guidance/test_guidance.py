"""The KL term, against a formula written out in float64, and its derivative."""

from __future__ import annotations

import math

import torch
from torch.func import vmap

from l2o_env.guidance import kl_divergence
from l2o_env.models.base import new_generator


def _by_hand(logits: torch.Tensor, probs: torch.Tensor) -> float:
    total = 0.0
    for row, target in zip(logits.double().tolist(), probs.double().tolist(), strict=True):
        normaliser = math.log(sum(math.exp(x) for x in row))
        total += sum(p * (math.log(p) - (x - normaliser)) for p, x in zip(target, row, strict=True) if p > 0)
    return total / len(logits)


def _random(n: int = 6, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = new_generator(0)
    logits, proxy = (3 * torch.randn(n, classes, generator=generator, dtype=torch.float64) for _ in range(2))
    return logits, proxy.softmax(-1)


def test_equals_the_formula() -> None:
    logits, probs = _random()
    expected = _by_hand(logits, probs)
    assert expected > 0.1
    assert math.isclose(kl_divergence(logits, probs).item(), expected, rel_tol=1e-12)
    assert math.isclose(kl_divergence(logits.float(), probs.float()).item(), expected, rel_tol=1e-5)


def test_a_case_that_can_be_done_in_the_head() -> None:
    # p = (1/2, 1/2) and q = (3/4, 1/4): KL(p || q) = log(2 / sqrt(3)); the other way round it would be another value.
    logits = torch.tensor([[math.log(3.0), 0.0]], dtype=torch.float64)
    assert math.isclose(kl_divergence(logits, torch.full((1, 2), 0.5)).item(), math.log(2 / math.sqrt(3)), rel_tol=1e-7)


def test_is_zero_for_the_proxy_itself() -> None:
    logits, _ = _random()
    assert abs(kl_divergence(logits, logits.softmax(-1)).item()) < 1e-15


def test_derivative() -> None:
    logits, probs = _random()
    assert torch.autograd.gradcheck(lambda x: kl_divergence(x, probs), logits.requires_grad_())


def test_a_class_that_the_proxy_rules_out_adds_nothing() -> None:
    logits, probs = _random(classes=3)
    padded_logits = torch.cat([logits, torch.full((len(logits), 2), -1e4)], -1).requires_grad_()
    padded = kl_divergence(padded_logits, torch.cat([probs, torch.zeros(len(probs), 2)], -1))
    assert padded.item() == kl_divergence(logits, probs).item()
    (gradient,) = torch.autograd.grad(padded, padded_logits)
    assert gradient.isfinite().all()
    assert (gradient[:, 3:] == 0).all()


def test_is_batched_by_vmap() -> None:
    logits, probs = _random(n=8)
    stacked = vmap(kl_divergence)(logits.view(2, 4, 5), probs.view(2, 4, 5))
    torch.testing.assert_close(
        stacked, torch.stack([kl_divergence(a, b) for a, b in zip(logits.chunk(2), probs.chunk(2), strict=True)])
    )
