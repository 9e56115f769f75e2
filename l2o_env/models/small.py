"""The networks of the embedded pairs: residual networks for 16x16 images, of 21 thousand weights or deeper."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from l2o_env.errors import unknown_name
from l2o_env.extras import MissingExtraError, require
from l2o_env.models.base import BatchedKernels, Optimizee
from l2o_env.models.blocks import FEATURES, ResidualBlock, Stem, initialise, linear

_log = logging.getLogger("l2o_env")

NetworkName = Literal["small", "deep"]
"""Names of the networks."""
_BLOCKS: dict[NetworkName, tuple[tuple[int, int, int], ...]] = {
    "small": ((8, 8, 1), (8, 16, 2), (16, FEATURES, 2)),
    "deep": ((8, 8, 1), (8, 16, 2), (16, 16, 1), (16, FEATURES, 2), (FEATURES, FEATURES, 1)),
}
"""Channels in and out, and stride, of each residual block."""


class _Backbone(nn.Module):
    """Images ``(batch, 3, 16, 16)`` to features ``(batch, 32)``: a stem and residual blocks.

    Raises:
        ConfigError: If there is no network of that name.
    """

    def __init__(self, network: NetworkName = "small") -> None:
        super().__init__()
        if network not in get_args(NetworkName):
            raise unknown_name("network", network, get_args(NetworkName))
        self.network: NetworkName = network
        self.stem = Stem(3, 8)
        for i, (n_in, n_out, stride) in enumerate(_BLOCKS[network], start=1):
            self.add_module(f"layer{i}", ResidualBlock(n_in, n_out, stride))

    def backbone_groups(self) -> tuple[str, ...]:
        """Names of the layer groups before the head, from the input on."""
        return ("stem", *(f"layer{i}" for i in range(1, len(_BLOCKS[self.network]) + 1)))

    def features(self, images: Tensor) -> Tensor:
        """Features of ``images (batch, 3, 16, 16)``, averaged over the image: ``(batch, 32)``."""
        for name in self.backbone_groups():
            images = self.get_submodule(name)(images)
        return images.mean((-2, -1))


class SmallProxy(_Backbone):
    """The backbone with the proxy's head alone: what is pretrained on real images.

    Args:
        n_proxy_classes: Classes of the proxy.
        generator: Where the weights come from.
        network: ``"small"``, or ``"deep"`` with two more residual blocks.
    """

    def __init__(self, n_proxy_classes: int, generator: torch.Generator, network: NetworkName = "small") -> None:
        super().__init__(network)
        self.proxy_head = linear(FEATURES, n_proxy_classes)
        initialise(self, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, n_proxy_classes)`` of ``images (batch, 3, 16, 16)``."""
        return self.proxy_head(self.features(images))


class SmallNet(_Backbone, Optimizee):
    """The optimizee of the embedded pairs.

    Layer groups: ``stem``, ``layer1``, ``layer2``, ``layer3``, ``head``; the deep network has two more layers. Group
    normalisation instead of batch normalisation and no in-place operation, so that ``torch.func.vmap`` can run a
    population of them.

    Args:
        n_classes: Classes of the task.
        n_proxy_classes: Classes of the proxy; its head is not trained.
        generator: Where the weights come from.
        network: ``"small"``, or ``"deep"`` with two more residual blocks.
    """

    def __init__(
        self, n_classes: int, n_proxy_classes: int, generator: torch.Generator, network: NetworkName = "small"
    ) -> None:
        super().__init__(network)
        self.feature_layer = self.backbone_groups()[-1]
        self.proxy_head = linear(FEATURES, n_proxy_classes)
        self.n_classes = n_classes
        self.head = nn.Sequential(linear(FEATURES, 32), nn.ReLU(), linear(32, n_classes))
        initialise(self, generator)
        self.proxy_head.requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(batch, n_classes)`` and ``(batch, n_proxy_classes)`` of ``images (batch, 3, 16, 16)``."""
        features = self.features(images)
        return self.head(features), self.proxy_head(features)

    def layer_groups(self) -> dict[str, list[str]]:
        """Parameter names of the groups ``stem``, ``layer1``, ``layer2``, …, and ``head``."""
        names = [name for name, _ in self.named_parameters()]
        groups = (*self.backbone_groups(), "head")
        return {group: [name for name in names if name.startswith(f"{group}.")] for group in groups}

    def batched_kernels(self, n_proxy_classes: int) -> BatchedKernels | None:
        """Compiled CPU kernels of the small network, several times as fast as PyTorch on it; None without Numba."""
        if self.network != "small":
            return None
        try:
            require("numba", extra="kernels", what="training the embedded network at full speed")
        except MissingExtraError as error:
            _tell_once(str(error))
            return None
        from l2o_env.models.kernels.small_net import SmallNetKernels

        return SmallNetKernels(SmallNet(self.n_classes, n_proxy_classes, torch.Generator()))

    def load_proxy(self, proxy: SmallProxy, *, backbone: bool = True) -> None:
        """Takes over the proxy's head and, if ``backbone``, its backbone; the new head stays as it was drawn."""
        self.proxy_head.load_state_dict(proxy.proxy_head.state_dict())
        if backbone:
            for group in self.backbone_groups():
                self.get_submodule(group).load_state_dict(proxy.get_submodule(group).state_dict())


@lru_cache
def _tell_once(text: str) -> None:
    """A line in the log, however many populations are built."""
    _log.info("%s", text)
