from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

from l2o_env.adaptation.mrkld import kld_regulariser


def test_it_is_label_smoothing() -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels, alpha, n_classes = torch.tensor([0, 1, 2, 3, 0, 1]), 0.3, 4
    found = F.cross_entropy(logits, labels) + kld_regulariser(logits.log_softmax(1), alpha)
    # PyTorch's ε gives the right class 1 - ε + ε/K, so that (1 + α/K) / (1 + α) is ε = α / (1 + α); counted as what
    # the right class loses, that is α(K - 1) / (K(1 + α)).
    smoothed = F.cross_entropy(logits, labels, label_smoothing=alpha / (1 + alpha))
    torch.testing.assert_close(found, (1 + alpha) * smoothed)
    lost = 1 - (1 + alpha / n_classes) / (1 + alpha)
    assert abs(lost - alpha * (n_classes - 1) / (n_classes * (1 + alpha))) < 1e-12


def test_its_gradient_pulls_towards_uniform_predictions() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5]], requires_grad=True)
    kld_regulariser(logits.log_softmax(1), 0.2).backward()
    torch.testing.assert_close(logits.grad, 0.2 * (logits.detach().softmax(1) - 1 / 3))
