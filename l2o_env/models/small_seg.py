"""The network of the embedded segmentation pair: a small U-shaped residual network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from l2o_env.models.base import Optimizee
from l2o_env.models.blocks import FEATURES, ResidualBlock, Stem, convolution, initialise

_GROUPS = ("stem", "layer1", "layer2", "layer3", "merge")


class _Trunk(nn.Module):
    """Images ``(batch, 3, h, w)`` to features ``(batch, 32, h / 2, w / 2)``.

    Blocks at a quarter of the resolution see a whole digit; their enlarged output is merged with what the first block
    sees at half of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Stem(3, 8)
        self.layer1 = ResidualBlock(8, 8, 1)
        self.layer2 = ResidualBlock(8, FEATURES, 2)
        self.layer3 = ResidualBlock(FEATURES, FEATURES, 1)
        self.merge = ResidualBlock(FEATURES + 8, FEATURES, 1)

    def features(self, images: Tensor) -> Tensor:
        """Features of every second pixel."""
        fine = self.layer1(self.stem(images))
        coarse = self.layer3(self.layer2(fine))
        enlarged = F.interpolate(coarse, fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.merge(torch.cat([enlarged, fine], 1))


class SmallSegProxy(_Trunk):
    """The trunk with the proxy's head: a class for every second pixel.

    Args:
        n_proxy_classes: Classes of the proxy.
        generator: Where the weights come from.
    """

    def __init__(self, n_proxy_classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.proxy_head = convolution(FEATURES, n_proxy_classes, 1, bias=True)
        initialise(self, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, n_proxy_classes, h / 2, w / 2)`` of ``images (batch, 3, h, w)``."""
        return self.proxy_head(self.features(images))


class SmallSegNet(_Trunk, Optimizee):
    """The optimizee: a new head beside the proxy's, and its logits enlarged to the image.

    Layer groups: ``stem``, ``layer1``, ``layer2``, ``layer3``, ``merge``, ``head``. Group normalisation, so that a
    population can be stacked.

    Args:
        n_classes: Classes of the task.
        n_proxy_classes: Classes of the proxy; its head is not trained.
        generator: Where the weights come from.
    """

    feature_layer = "merge"

    def __init__(self, n_classes: int, n_proxy_classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.proxy_head = convolution(FEATURES, n_proxy_classes, 1, bias=True)
        self.head = nn.Sequential(convolution(FEATURES, 32, 3), nn.ReLU(), convolution(32, n_classes, 1, bias=True))
        initialise(self, generator)
        self.proxy_head.requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(batch, n_classes, h, w)`` and ``(batch, n_proxy_classes, h / 2, w / 2)``."""
        features = self.features(images)
        logits = F.interpolate(self.head(features), images.shape[-2:], mode="bilinear", align_corners=False)
        return logits, self.proxy_head(features)

    def layer_groups(self) -> dict[str, list[str]]:
        """Parameter names by group."""
        names = [name for name, _ in self.named_parameters()]
        return {group: [name for name in names if name.startswith(f"{group}.")] for group in (*_GROUPS, "head")}

    def load_proxy(self, proxy: SmallSegProxy, *, backbone: bool = True) -> None:
        """Takes over the proxy's head and, if ``backbone``, its trunk; the new head stays as it was drawn."""
        self.proxy_head.load_state_dict(proxy.proxy_head.state_dict())
        if backbone:
            for group in _GROUPS:
                self.get_submodule(group).load_state_dict(proxy.get_submodule(group).state_dict())
