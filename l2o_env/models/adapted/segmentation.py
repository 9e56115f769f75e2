"""Torchvision's segmentation networks with the frozen head of the classification network below them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from l2o_env.models.adapted.backbone import batch_norms
from l2o_env.models.adapted.feature_layers import feature_layer_of
from l2o_env.models.adapted.groups import HEAD, Groups
from l2o_env.models.adapted.network_config import BatchNormMode
from l2o_env.models.base import Optimizee

_CHANNEL_GROUPS = 32
"""Groups of GroupNorm (Wu & He, 2018), or as many as divide the channels with it."""


class DenseProxy(nn.Module):
    """A classification network that answers for every place of its feature map.

    Args:
        backbone: Images to feature maps by name, as in torchvision's segmentation networks.
        head: The classification network's head, for the last dimension.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, n_proxy_classes, h', w')``."""
        return _everywhere(self.head, _last(self.backbone(images)))


class SegmentationNet(Optimizee):
    """A torchvision segmentation network with the classification network's frozen head beside its own.

    Where batch statistics are frozen, the new head has GroupNorm in place of BatchNorm: nobody has trained statistics
    of its features, and with mean 0 and variance 1 for ever DeepLabV3's logits would be a tenth of their size.

    Args:
        backbone: Images to feature maps by name; it is taken over, not copied, like what follows.
        classifier: The new head: feature maps to logits.
        proxy_head: The classification network's head.
        groups: Layer groups of the backbone.
        batchnorm: Whether batch statistics are frozen or trained.
        feature_layer: Name of the backbone's module whose output is the last feature map; empty: its last one.
    """

    def __init__(
        self,
        backbone: nn.Module,
        classifier: nn.Module,
        proxy_head: nn.Module,
        groups: Mapping[str, Sequence[str]],
        batchnorm: BatchNormMode,
        feature_layer: str = "",
    ) -> None:
        super().__init__()
        self.trains_batch_statistics = batchnorm == "trained"
        if not self.trains_batch_statistics:
            _normalise_groups(classifier)
        elif _pools_whole_images(classifier):
            self.smallest_batch = 2
        self.backbone, self.head, self.proxy_head = backbone, classifier, proxy_head
        self._groups = groups
        last = [name for name, _ in backbone.named_children()][-1]
        self.feature_layer = f"backbone.{feature_layer_of(backbone, feature_layer, last)}"
        self.requires_grad_(True)
        self.proxy_head.requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(batch, n_classes, h, w)`` and ``(batch, n_proxy_classes, h', w')``."""
        features = self.backbone(images)
        last = _last(features)
        logits = self.head(features if "low" in features else last)
        logits = F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)
        return logits, _everywhere(self.proxy_head, last)

    def layer_groups(self) -> Groups:
        """The backbone's groups, and the new ``head``."""
        groups = {group: [f"backbone.{name}" for name in names] for group, names in self._groups.items()}
        return {**groups, HEAD: [f"head.{name}" for name, _ in self.head.named_parameters()]}

    def train_batch_statistics(self, training: bool) -> None:
        """Lets running statistics follow the coming batches, if they are to be trained."""
        if self.trains_batch_statistics:
            for norm in batch_norms(self.backbone, self.head):
                norm.train(training)


def _normalise_groups(head: nn.Module) -> None:
    """Replaces batch normalisation, in place, by a normalisation that needs no statistics."""
    for name, layer in list(head.named_modules()):
        if isinstance(layer, nn.BatchNorm2d):
            n_channels = layer.num_features
            head.set_submodule(name, nn.GroupNorm(gcd(_CHANNEL_GROUPS, n_channels), n_channels))


def _pools_whole_images(head: nn.Module) -> bool:
    """Whether batch normalisation sees one value of an image, of which a single image has no variance."""
    from torchvision.models.segmentation.deeplabv3 import ASPPPooling

    return any(isinstance(layer, ASPPPooling) for layer in head.modules())


def _last(features: Mapping[str, Tensor]) -> Tensor:
    return features["out"] if "out" in features else features["high"]


def _everywhere(head: nn.Module, features: Tensor) -> Tensor:
    return head(features.movedim(1, -1)).movedim(-1, 1)
