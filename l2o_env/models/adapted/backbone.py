"""Any network as an optimizee: its backbone, its own head frozen, and a new head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from l2o_env.models.adapted.by_name import local_seed
from l2o_env.models.adapted.feature_layers import feature_layer_of
from l2o_env.models.adapted.groups import HEAD, Groups
from l2o_env.models.adapted.heads import head_inputs, head_of, n_features
from l2o_env.models.adapted.network_config import BatchNormMode
from l2o_env.models.base import Optimizee
from l2o_env.models.blocks import initialise

HIDDEN = 512
"""Width of the new head (Chen et al., 2020): features -> 512 -> ReLU -> classes."""


class Backbone(Optimizee):
    """A classification network whose head became the frozen proxy head, with a new head beside it.

    The network stays whole: what goes into its head is the new head's features too, so that its logits are the
    proxy's to the bit, whatever it does to them after its head.

    Args:
        network: The network with its weights; it is taken over, not copied.
        head: Name of the layer that is the proxy's head.
        n_classes: Classes of the task.
        generator: Draws the new head.
        groups: Layer groups of the network without its head.
        batchnorm: Whether batch statistics are frozen or trained.
        feature_layer: Name of the module whose output is the last feature map; empty: see ``NetworkConfig``.
    """

    def __init__(
        self,
        network: nn.Module,
        head: str,
        n_classes: int,
        generator: torch.Generator,
        groups: Mapping[str, Sequence[str]],
        batchnorm: BatchNormMode = "frozen",
        feature_layer: str = "",
    ) -> None:
        super().__init__()
        self.proxy_head = head_of(network, head)  # a part of the network too; this name of its parameters is the first
        self.network = network
        self._groups = groups
        layer = feature_layer_of(network, feature_layer)
        self.feature_layer = f"network.{layer}" if layer else None
        self.trains_batch_statistics = batchnorm == "trained" and bool(batch_norms(network))
        # Of feature maps of one place, or of vectors, one image has nothing to take a variance of.
        self.smallest_batch = 2 if self.trains_batch_statistics else 1
        with local_seed(0):
            self.head = self.new_head(n_features(self.proxy_head), n_classes)
        initialise(self.head, generator)
        trained = {f"network.{name}" for names in groups.values() for name in names}
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in trained or name.startswith("head."))

    @staticmethod
    def new_head(n_features: int, n_classes: int) -> nn.Sequential:
        """Features ``(batch, n_features)`` to logits ``(batch, n_classes)``."""
        return nn.Sequential(nn.Linear(n_features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, n_classes))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(batch, n_classes)`` and ``(batch, n_proxy_classes)``."""
        with head_inputs(self.proxy_head) as features:
            proxy_logits = self.network(images)
        return self.answer(features[0], images), proxy_logits

    def answer(self, features: Tensor, images: Tensor) -> Tensor:
        """The new head's logits of what goes into the proxy's head, mean over the places if it has any."""
        if isinstance(self.proxy_head, nn.Conv2d):
            features = features.mean((-2, -1))
        return self.head(features.flatten(1, -2).mean(1) if features.dim() > 2 else features)

    def layer_groups(self) -> Groups:
        """The network's groups, and the new ``head``."""
        groups = {group: [f"network.{name}" for name in names] for group, names in self._groups.items()}
        return {**groups, HEAD: [f"head.{name}" for name, _ in self.head.named_parameters()]}

    def train_batch_statistics(self, training: bool) -> None:
        """Lets running statistics follow the coming batches, if they are to be trained."""
        if self.trains_batch_statistics:
            for norm in batch_norms(self.network):
                norm.train(training)


class DenseBackbone(Backbone):
    """The same of a segmentation network: classes of every place of the image, of the features that its head reads.

    Without a ``feature_layer`` of its own, these features are its last feature map.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.features = nn.Identity()
        self.feature_layer = self.feature_layer or "features"

    @staticmethod
    def new_head(n_features: int, n_classes: int) -> nn.Sequential:
        """Features ``(batch, n_features, h', w')`` to logits ``(batch, n_classes, h', w')``."""
        return nn.Sequential(nn.Conv2d(n_features, HIDDEN, 1), nn.ReLU(), nn.Conv2d(HIDDEN, n_classes, 1))

    def answer(self, features: Tensor, images: Tensor) -> Tensor:
        """The new head's logits ``(batch, n_classes, h, w)``, enlarged to the images."""
        logits = self.head(self.features(features))
        return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)


def batch_norms(*networks: nn.Module) -> list[nn.Module]:
    """Their layers of batch normalisation."""
    return [layer for n in networks for layer in n.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
