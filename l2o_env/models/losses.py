"""Losses that take one label per image or one per pixel."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

IGNORED = -100
"""Label of pixels that count for nothing, as ``torch.nn.functional.cross_entropy`` has it."""


def task_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, mean over the images, or over all labelled pixels of the batch; 0 if there are none.

    Args:
        logits: ``(batch, n_classes)`` or ``(batch, n_classes, height, width)``.
        labels: ``(batch,)`` or ``(batch, height, width)``, with ``IGNORED`` for pixels without a class.
    """
    if labels.dim() == 1:
        return F.cross_entropy(logits, labels)
    total = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)


def as_rows(scores: Tensor) -> Tensor:
    """Classes last, every place of the feature map a row of its own.

    Args:
        scores: ``(batch, n_classes)`` or ``(batch, n_classes, height, width)``.

    Returns:
        ``(batch, n_classes)`` or ``(batch * height * width, n_classes)``.
    """
    return scores if scores.dim() == 2 else scores.movedim(1, -1).flatten(0, -2)
