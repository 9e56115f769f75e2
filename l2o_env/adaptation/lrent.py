"""Self-training with soft labels."""

from __future__ import annotations

import torch
from torch import Tensor

from l2o_env.adaptation.cbst import CBST
from l2o_env.adaptation.mrkld import MRKLD
from l2o_env.models.losses import IGNORED


def soft_labels(probabilities: Tensor, thresholds: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Labels that minimise the cross-entropy less α times their own entropy, and which of them are kept.

    With u = (p/λ)^(1/α) the label is u / Σu. It is kept if it costs less than no label:
    Σ q (α log q - log p) < -Σ q log λ, which is Σu > 1.

    Args:
        probabilities: ``(n, n_classes)``.
        thresholds: λ ``(n_classes,)``.
        weight: α > 0; towards 0 these are the hard labels of CBST.

    Returns:
        ``(n, n_classes)`` and ``(n,)``, bool.
    """
    # Logarithms, because u overflows where α is small.
    log_u = (probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log() - thresholds.log()) / weight
    return log_u.softmax(1), log_u.logsumexp(1) > 0


class LRENT(CBST):
    """CBST with a label regulariser, the entropy of soft labels (Zou et al., ICCV 2019).

    α for classification is not public; that of the segmentation code is taken.
    """

    name = "lrent"

    def label(self, rows: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor | None]:
        """:func:`soft_labels`; the hard labels are the largest of them."""
        soft, kept = soft_labels(rows, thresholds, self.config.lrent_weight)
        return torch.where(kept, soft.argmax(1), IGNORED), soft


class MRKLDLRENT(LRENT, MRKLD):
    """Both regularisers of CRST at once; no pair of weights for it was published."""

    name = "mrkld+lrent"
