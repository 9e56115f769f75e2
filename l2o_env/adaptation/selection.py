"""Which round's weights to take, without labels of the target."""

from __future__ import annotations

import torch
from torch import Tensor

from l2o_env.models.losses import as_rows


def information_maximisation(probabilities: Tensor) -> Tensor:
    """H(p̄) - mean H(p), in nats: high where predictions are sure and use all classes.

    Args:
        probabilities: ``(n, n_classes)`` or ``(n, n_classes, h, w)``.
    """
    rows = as_rows(probabilities)
    mean = rows.mean(0)
    return torch.xlogy(rows, rows).sum(1).mean() - torch.xlogy(mean, mean).sum()
