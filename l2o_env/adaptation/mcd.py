"""Maximum classifier discrepancy."""

from __future__ import annotations

from copy import deepcopy

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from l2o_env.adaptation.method import Batch, Method, Plan, RoundStart, Task


def discrepancy(first: Tensor, second: Tensor) -> Tensor:
    """Mean over images and classes of the distance of two heads' probabilities, of logits ``(n, n_classes)``."""
    return (first.softmax(1) - second.softmax(1)).abs().mean()


def balance(logits: Tensor) -> Tensor:
    """-mean log of the batch's mean probabilities: small where all classes are predicted."""
    return -(logits.softmax(1).mean(0) + 1e-6).log().mean()


class MCD(Method):
    """Maximum classifier discrepancy (Saito et al., CVPR 2018), in three steps.

    All learn on the source; then the heads alone are drawn apart on the target, and then the body alone brings them
    together, several times. The term of balance is in the first two steps, as in the released code (the paper's text
    has it in the last two). Who starts from a trained head needs two that differ, and there is no public recipe: the
    second one is drawn anew and learns by itself in the first round, on the source, while all else stays. Predictions
    are the first head's. Both heads have the shape of the network's own.
    """

    name = "mcd"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.add("second", deepcopy(self.head))

    def begin_round(self, start: RoundStart) -> Plan:
        """Notes whether the second head learns by itself."""
        self.alone = start.number == 0
        return super().begin_round(start)

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Makes the three steps, or in the first round the second head's."""
        if self.alone:
            with torch.no_grad():
                features = self.features(batch.source)
            ce = F.cross_entropy(self.networks["second"](features), batch.labels)
            self.descend(ce, "second")
            return {"ce": ce.detach()}
        ce, _ = self._on_both(batch)
        self.descend(ce, "body", "head", "second")
        of_both, apart = self._on_both(batch)
        self.descend(of_both - apart, "head", "second")
        for _ in range(self.config.mcd_steps):
            first, second = self._heads(batch.target)
            together = discrepancy(first, second)
            self.descend(together, "body")
        return {"ce": ce.detach(), "discrepancy": together.detach()}

    def _heads(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(images)
        return self.head(features), self.networks["second"](features)

    def _on_both(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropies of both heads with the term of balance, and their discrepancy on the target."""
        first, second = self._heads(torch.cat([batch.source, batch.target]))
        n = len(batch.source)
        ce = F.cross_entropy(first[:n], batch.labels) + F.cross_entropy(second[:n], batch.labels)
        ce = ce + self.config.mcd_balance * (balance(first[n:]) + balance(second[n:]))
        return ce, discrepancy(first[n:], second[n:])
