from __future__ import annotations

import torch

from l2o_env.adaptation.cbst import pseudo_labels
from l2o_env.adaptation.lrent import soft_labels
from l2o_env.models.losses import IGNORED
from tests.adaptation.made import adaptation


def _drawn(n: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    probabilities = (2 * torch.randn(n, 4, generator=generator, dtype=torch.float64)).softmax(1)
    return probabilities, torch.tensor([0.9, 0.6, 0.75, 1.0], dtype=torch.float64)


def test_both_forms_of_the_rule_keep_the_same() -> None:
    p, threshold = _drawn()
    alpha = 0.25
    q, kept = soft_labels(p, threshold, alpha)
    u = (p / threshold) ** (1 / alpha)
    torch.testing.assert_close(q, u / u.sum(1, keepdim=True))
    assert kept.tolist() == (u.sum(1) > 1).tolist()
    cost = (q * (alpha * q.log() - p.log())).sum(1)
    assert kept.tolist() == (cost < -(q * threshold.log()).sum(1)).tolist()
    assert 20 < int(kept.sum()) < 180


def test_a_small_weight_gives_hard_labels() -> None:
    p, threshold = _drawn()
    q, kept = soft_labels(p, threshold, 1e-4)
    hard = pseudo_labels(p, threshold)
    assert kept.tolist() == (hard != IGNORED).tolist()
    assert q.argmax(1)[kept].tolist() == hard[kept].tolist()
    assert float(q.max(1).values[kept].min()) > 0.99


def test_soft_labels_are_trained_on() -> None:
    hard, soft = adaptation("cbst", portion=0.5), adaptation("lrent", portion=0.5)
    assert hard.run_round().losses["ce"] != soft.run_round().losses["ce"]
