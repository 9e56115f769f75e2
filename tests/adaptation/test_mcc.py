from __future__ import annotations

import torch

from l2o_env.adaptation.mcc import class_confusion


def test_it_by_hand() -> None:
    p = torch.tensor([[0.8, 0.2], [0.4, 0.6]])
    h = -(p * p.log()).sum(1)
    w = 1 + (-h).exp()
    w = 2 * w / w.sum()
    matrix = p.T @ torch.diag(w) @ p
    rows = matrix / matrix.sum(1, keepdim=True)
    torch.testing.assert_close(class_confusion(3 * p.log(), 3.0), (rows[0, 1] + rows[1, 0]) / 2)


def test_sure_predictions_are_not_confused() -> None:
    assert class_confusion(100 * torch.eye(3), 3.0) < 1e-6
