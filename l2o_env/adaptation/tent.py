"""Test-time entropy minimisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from l2o_env.adaptation.method import Batch, Method, Task
from l2o_env.errors import ConfigError
from l2o_env.models.adapted.backbone import batch_norms
from l2o_env.models.losses import as_rows

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


class Tent(Method):
    """Entropy minimisation (Wang et al., ICLR 2021) of scales and shifts alone; the source is not read.

    Layers of batch normalisation use the statistics of each batch, in predictions too. Networks with group or layer
    normalisation have no such statistics; only their scales and shifts are trained. The released code adapts while it
    predicts; here predictions are made with the weights that a round ends with.

    Raises:
        ConfigError: If the network has no normalisation with scales and shifts.
    """

    name = "tent"
    dense = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        layers = [layer for layer in task.model.modules() if isinstance(layer, _NORMS)]
        affine = [p for layer in layers for p in layer.parameters(recurse=False)]
        if not affine:
            raise ConfigError(f"'tent' trains scales and shifts, and {type(task.model).__name__} has none.")
        self.optimizers = {"affine": self.sgd([affine])}
        for norm in batch_norms(task.model):
            norm.momentum = 0.0  # type: ignore[assignment] # running statistics stay, and are not used

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Descends on the entropy of the batch's predictions."""
        p = as_rows(self.predict(batch.target).softmax(1))
        entropy = -torch.xlogy(p, p).sum(1).mean()
        self.descend(entropy, "affine")
        return {"entropy": entropy.detach()}

    def predict(self, images: Tensor) -> Tensor:
        """Logits by the statistics of the batch."""
        norms = batch_norms(self.model)
        for norm in norms:
            norm.train(True)
        logits = self.model(images)[0]
        for norm in norms:
            norm.train(False)
        return logits
