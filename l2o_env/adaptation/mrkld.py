"""Self-training whose confident labels are smoothed in the loss."""

from __future__ import annotations

from torch import Tensor

from l2o_env.adaptation.cbst import CBST


def kld_regulariser(log_p: Tensor, weight: float) -> Tensor:
    """-α/K Σ log p: the divergence of the predictions from the uniform ones, but for a constant; mean over rows.

    Beside the cross-entropy with a label q, it is (1 + α) times that with the label (q + α/K) / (1 + α), which is label
    smoothing.

    Args:
        log_p: Log-probabilities ``(n, n_classes)``.
        weight: α.
    """
    return -weight * log_p.mean(1).mean()


class MRKLD(CBST):
    """CBST with a model regulariser, the KL divergence from uniform predictions (Zou et al., ICCV 2019).

    It acts on kept target images only. α for classification is not public; the segmentation code is given 0.1 and
    applies it twice. Here 0.1 acts once.
    """

    name = "mrkld"

    def regulariser(self, log_p: Tensor) -> Tensor:
        """:func:`kld_regulariser`."""
        return kld_regulariser(log_p, self.config.mrkld_weight)
