"""Margin disparity discrepancy."""

from __future__ import annotations

from copy import deepcopy

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from l2o_env.adaptation.method import Batch, Method, Task
from l2o_env.adaptation.reversal import ramp, reverse


def margin_disparity(
    source: Tensor, source_adversary: Tensor, target: Tensor, target_adversary: Tensor, margin: float
) -> Tensor:
    """How far the adversary agrees with the head on the source and not on the target; the adversary descends on it.

    γ CE(h', argmax h) on the source, and -log(1 - p'[argmax h]) on the target, means over the images.

    Args:
        source: Logits of the head ``(n, n_classes)``.
        source_adversary: Those of the adversary.
        target: The same on the target.
        target_adversary: Likewise.
        margin: γ.
    """
    agree = F.cross_entropy(source_adversary, source.argmax(1))
    # log(1 - p), of the other classes' logits: 1 - p itself is 0 in floating point for a sure prediction.
    chosen = F.one_hot(target.argmax(1), target.shape[1]).bool()
    log_other = target_adversary.masked_fill(chosen, -torch.inf).logsumexp(1) - target_adversary.logsumexp(1)
    return margin * agree - log_other.mean()


class MDD(Method):
    """Margin disparity discrepancy (Zhang et al., ICML 2019).

    The adversary is a second head of the same shape, drawn anew; a bottleneck is not added.
    """

    name = "mdd"
    joint = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.add("adversary", deepcopy(self.head))

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy on the source, and the disparity, which the body sees reversed."""
        features = self.features(torch.cat([batch.source, batch.target]))
        logits = self.head(features)
        reversed_ = reverse(features, ramp(batch.progress, self.config.mdd_reversal))
        adversary = self.networks["adversary"](reversed_)
        n = len(batch.source)
        ce = F.cross_entropy(logits[:n], batch.labels)
        disparity = margin_disparity(logits[:n], adversary[:n], logits[n:], adversary[n:], self.config.mdd_margin)
        self.descend(ce + disparity, "model", "adversary")
        return {"ce": ce.detach(), "disparity": disparity.detach()}
