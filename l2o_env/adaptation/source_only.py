"""No adaptation: the source alone, with the updates that the other methods have."""

from __future__ import annotations

from torch import Tensor

from l2o_env.adaptation.method import Batch, Method
from l2o_env.models.losses import task_loss


class SourceOnly(Method):
    """Cross-entropy on the source. What a method gains, it gains over this, which has as many updates."""

    name = "source_only"
    dense = True
    joint = True

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Descends on the cross-entropy."""
        loss = task_loss(self.model(batch.source)[0], batch.labels)
        self.descend(loss, "model")
        return {"ce": loss.detach()}
