"""Minimum class confusion."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from l2o_env.adaptation.method import Batch, Method


def class_confusion(logits: Tensor, temperature: float) -> Tensor:
    """Share of the class-confusion matrix that lies off its diagonal.

    The matrix is PᵀWP of the softened probabilities P, rows normalised; an image counts 1 + exp(-H), and all of them
    together as many as there are.

    Args:
        logits: Of target images ``(n, n_classes)``.
        temperature: Divides the logits.
    """
    p = (logits / temperature).softmax(1)
    entropy = -torch.xlogy(p, p).sum(1)
    weight = (1 + (-entropy).exp()).detach()
    weight = weight * len(weight) / weight.sum()
    confusion = (p * weight[:, None]).T @ p
    confusion = confusion / confusion.sum(1, keepdim=True)
    return (confusion.sum() - confusion.trace()) / len(confusion)


class MCC(Method):
    """Minimum class confusion (Jin et al., ECCV 2020): one term on the target, no other network."""

    name = "mcc"
    joint = True

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy on the source, confusion on the target."""
        logits = self.model(torch.cat([batch.source, batch.target]))[0]
        n = len(batch.source)
        ce = F.cross_entropy(logits[:n], batch.labels)
        confusion = class_confusion(logits[n:], self.config.mcc_temperature)
        self.descend(ce + confusion, "model")
        return {"ce": ce.detach(), "confusion": confusion.detach()}
