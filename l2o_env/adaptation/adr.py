"""Adversarial dropout regularisation."""

from __future__ import annotations

from copy import deepcopy

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from l2o_env.adaptation.method import Batch, Method, Task


def symmetric_kl(first: Tensor, second: Tensor) -> Tensor:
    """Half of KL(p‖q) + KL(q‖p), in nats, mean over images *and classes*, of logits ``(n, n_classes)``."""
    log_p, log_q = first.log_softmax(1), second.log_softmax(1)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).mean() / 2


def dropped(features: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Dropout of a share of the features ``(n, n_features)``, drawn from a generator on the host."""
    kept = torch.rand(features.shape, generator=generator) >= share
    return features * kept.to(features.device) / (1 - share)


class ADR(Method):
    """Adversarial dropout regularisation (Saito et al., ICLR 2018).

    A head that is drawn twice by dropout plays against the body; another head, on which dropout plays no part, learns
    on the body's features and predicts. The code for VisDA-17 was not released; the steps are those of the code for
    digits, and so is the mean over classes, without which the body collapses. Other than there, both sides of the
    divergence have a gradient, and the optimizer is the one of all methods.
    """

    name = "adr"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.add("critic", deepcopy(self.head), draw=False)

    def _critic(self, features: Tensor) -> Tensor:
        return self.networks["critic"](dropped(features, self.config.adr_dropout, self.generator))

    def _source_loss(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self._critic(self.features(batch.source)), batch.labels)

    def _disagreement(self, batch: Batch) -> Tensor:
        features = self.features(batch.target)
        return symmetric_kl(self._critic(features), self._critic(features))

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Body and critic on the source; the predicting head; the critic against the body; the body against it."""
        ce = self._source_loss(batch)
        self.descend(ce, "body", "critic")
        with torch.no_grad():
            features = self.features(batch.source)
        self.descend(F.cross_entropy(self.head(features), batch.labels), "head")
        self.descend(self._source_loss(batch) - self._disagreement(batch), "critic")
        for _ in range(self.config.adr_steps):
            disagreement = self._disagreement(batch)
            self.descend(disagreement, "body")
        return {"ce": ce.detach(), "disagreement": disagreement.detach()}
