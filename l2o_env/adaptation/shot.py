"""Source hypothesis transfer."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from l2o_env.adaptation.method import Batch, Method, Plan, RoundStart
from l2o_env.adaptation.selection import information_maximisation


def centroid_labels(features: Tensor, probabilities: Tensor) -> Tensor:
    """The class whose centroid is the closest by cosine, with centroids computed once more of the first answer.

    First centroids are means of features weighted by probabilities; second ones means over the first answer's classes,
    where a class without an image keeps its first.

    Args:
        features: ``(n, n_features)``.
        probabilities: ``(n, n_classes)``.

    Returns:
        ``(n,)``, int64.
    """
    features = F.normalize(torch.cat([features, torch.ones_like(features[:, :1])], 1))
    centroids = probabilities.T @ features / probabilities.sum(0)[:, None].clamp_min(1e-8)
    answer = _closest(features, centroids)
    members = F.one_hot(answer, probabilities.shape[1]).to(features.dtype)
    counts = members.sum(0)[:, None]
    refined = torch.where(counts > 0, members.T @ features / counts.clamp(min=1), centroids)
    return _closest(features, refined)


def _closest(features: Tensor, centroids: Tensor) -> Tensor:
    return (features @ F.normalize(centroids).T).argmax(1)


class SHOT(Method):
    """Source hypothesis transfer (Liang et al., ICML 2020): the head stays, the source is not read.

    The bottleneck and the weight-normalised head of its source models are not added; the head is the initialisation's.
    Features are given a 1 and normalised, as in the released code. Pseudo labels count from the second round on.
    """

    name = "shot"

    @torch.no_grad()
    def begin_round(self, start: RoundStart) -> Plan:
        """Labels all target images by their centroids."""
        self.generator, self.number = start.generator, start.number
        features = torch.cat([self.features(images) for images in start.target.chunks()])
        return Plan(pseudo=centroid_labels(features, start.probabilities))

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Sure predictions of all classes alike, and the pseudo labels'."""
        assert batch.pseudo is not None
        logits = self.model(batch.target)[0]
        loss = -information_maximisation(logits.softmax(1))
        ce = F.cross_entropy(logits, batch.pseudo)
        self.descend(loss + (self.config.shot_pseudo * ce if self.number else 0), "body")
        return {"information": loss.detach(), "pseudo_ce": ce.detach()}
