"""Conditional domain-adversarial training."""

from __future__ import annotations

from torch import Tensor

from l2o_env.adaptation.dann import DANN


def conditioned(features: Tensor, probabilities: Tensor) -> Tensor:
    """The outer product of features ``(n, f)`` and probabilities ``(n, k)``, flat: ``(n, f * k)``."""
    return (features[:, :, None] * probabilities[:, None]).flatten(1)


class CDAN(DANN):
    """Conditional adversarial adaptation (Long et al., NeurIPS 2018): the discriminator sees features and predictions.

    Without its entropy weights, which the library's run on VisDA-17 leaves off too.
    """

    name = "cdan"

    def discriminated(self) -> int:
        """Features times classes."""
        return self.n_features * self.n_classes

    def seen(self, features: Tensor, logits: Tensor) -> Tensor:
        """:func:`conditioned`; predictions have no gradient."""
        return conditioned(features, logits.softmax(1).detach())
