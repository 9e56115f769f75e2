"""What only the target's labels can tell: for reports, and beside what needs none."""

from __future__ import annotations

import torch
from torch import Tensor

from l2o_env.adaptation.images import SIZES_DIFFER, LabelledImages
from l2o_env.errors import ConfigError
from l2o_env.inner.metrics import make_metric
from l2o_env.models.losses import IGNORED
from l2o_env.pairs.pair import Pair


class TargetOracle:
    """Reads the labels of the target. No method is given one.

    Args:
        pair: The pair; its metric counts. Predictions are of the image alone, without its mirror image or windows.
        device: Where predictions are.

    Raises:
        ConfigError: If the pair has no target images, or they differ in size.
    """

    def __init__(self, pair: Pair, device: torch.device) -> None:
        if pair.target is None:
            raise pair.no_images("target", "which tell what is right")
        self._pair = pair
        parts = [labels for _, labels in LabelledImages(pair.target, device).chunks()]
        if len({part.shape[1:] for part in parts}) > 1:
            raise ConfigError(SIZES_DIFFER)
        self.labels = torch.cat(parts)

    def accuracy(self, probabilities: Tensor) -> float:
        """The pair's metric of predictions ``(n, n_classes, ...)``."""
        metric = make_metric(self._pair.metric, self._pair.n_classes, probabilities.device)
        metric.update(probabilities.argmax(1), self.labels)
        return float(metric.compute())

    def pseudo_accuracy(self, pseudo: Tensor) -> float:
        """Share of the pseudo labels ``(n, ...)`` that are right; NaN if there are none."""
        counted = (pseudo != IGNORED) & (self.labels != IGNORED)
        return float((pseudo == self.labels)[counted].double().mean())
