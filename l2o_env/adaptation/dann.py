"""Domain-adversarial training."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from l2o_env.adaptation.method import Batch, Method, Task
from l2o_env.adaptation.reversal import discriminator, domain_loss, ramp, reverse


class DANN(Method):
    """Domain-adversarial training (Ganin et al., JMLR 2016): features that a discriminator cannot tell apart.

    No bottleneck is added: the features are those before the head, whatever the initialisation made of them.
    """

    name = "dann"
    joint = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.add("discriminator", discriminator(self.discriminated(), self.config.hidden))

    def discriminated(self) -> int:
        """Numbers that the discriminator is given."""
        return self.n_features

    def seen(self, features: Tensor, logits: Tensor) -> Tensor:
        """What the discriminator is given."""
        return features

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy on the source, and the domain loss through the reversal."""
        features = self.features(torch.cat([batch.source, batch.target]))
        logits = self.head(features)
        n = len(batch.source)
        ce = F.cross_entropy(logits[:n], batch.labels)
        seen = reverse(self.seen(features, logits), ramp(batch.progress))
        verdict = self.networks["discriminator"](seen)
        domain = domain_loss(verdict[:n], verdict[n:])
        self.descend(ce + domain, "model", "discriminator")
        return {"ce": ce.detach(), "domain": domain.detach()}
