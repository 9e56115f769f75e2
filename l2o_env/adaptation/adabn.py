"""Adaptive batch normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from l2o_env.adaptation.method import Batch, Method, Plan, RoundStart, Task
from l2o_env.errors import ConfigError
from l2o_env.models.adapted.backbone import batch_norms


class AdaBN(Method):
    """Adaptive batch normalisation (Li et al., 2016): the statistics are the target's, the weights stay.

    Raises:
        ConfigError: If the network has no batch normalisation.
    """

    name = "adabn"
    dense = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        if not batch_norms(task.model):
            raise ConfigError(
                f"'adabn' sets the statistics of batch normalisation, and {type(task.model).__name__} has none "
                "(the embedded networks have group normalisation); use another method or network."
            )

    @torch.no_grad()
    def begin_round(self, start: RoundStart) -> Plan:
        """Takes the statistics of all target images; there is nothing to train."""
        norms = [norm for norm in batch_norms(self.model) if isinstance(norm, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
            norm.train(True)
        for images in start.target.chunks():
            self.model(images)
        for norm in norms:
            norm.train(False)
        return Plan(trains=False)

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Does nothing."""
        return {}
