"""The networks of the embedded pairs: residual networks for 16x16 images, of 21 thousand weights or of other sizes."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from l2o_env.errors import unknown_name
from l2o_env.extras import MissingExtraError, require
from l2o_env.models.base import BatchedKernels, Optimizee
from l2o_env.models.blocks import ResidualBlock, Stem, initialise, linear

_log = logging.getLogger("l2o_env")

NetworkName = Literal["small", "deep", "deeper", "narrow", "wide", "unnormalised"]
"""Names of the networks."""
_SMALL = ((8, 8, 1), (8, 16, 2), (16, 32, 2))
_BLOCKS: dict[NetworkName, tuple[tuple[int, int, int], ...]] = {
    "small": _SMALL,
    "deep": ((8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 32, 2), (32, 32, 1)),
    "deeper": (
        *((8, 8, 1), (8, 8, 1), (8, 8, 1)), *((8, 16, 2), (16, 16, 1), (16, 16, 1)),
        *((16, 32, 2), (32, 32, 1), (32, 32, 1)),
    ),
    "narrow": ((4, 4, 1), (4, 8, 2), (8, 16, 2)),
    "wide": ((16, 16, 1), (16, 32, 2), (32, 64, 2)),
    "unnormalised": _SMALL,
}  # fmt: skip
"""Channels in and out, and stride, of each residual block."""


class _Backbone(nn.Module):
    """Images ``(batch, 3, 16, 16)`` to features ``(batch, n_features)``: a stem and residual blocks.

    Attributes:
        network: Name of the network.
        n_features: Channels of the last block, which both heads read.

    Raises:
        ConfigError: If there is no network of that name.
    """

    def __init__(self, network: NetworkName = "small") -> None:
        super().__init__()
        if network not in get_args(NetworkName):
            raise unknown_name("network", network, get_args(NetworkName))
        self.network: NetworkName = network
        blocks, normalised = _BLOCKS[network], network != "unnormalised"
        self.n_features = blocks[-1][1]
        self.stem = Stem(3, blocks[0][0], normalised=normalised)
        for i, (n_in, n_out, stride) in enumerate(blocks, start=1):
            self.add_module(f"layer{i}", ResidualBlock(n_in, n_out, stride, normalised=normalised))

    def backbone_groups(self) -> tuple[str, ...]:
        """Names of the layer groups before the head, from the input on."""
        return ("stem", *(f"layer{i}" for i in range(1, len(_BLOCKS[self.network]) + 1)))

    def features(self, images: Tensor) -> Tensor:
        """Features of ``images (batch, 3, 16, 16)``, averaged over the image: ``(batch, n_features)``."""
        for name in self.backbone_groups():
            images = self.get_submodule(name)(images)
        return images.mean((-2, -1))


class SmallProxy(_Backbone):
    """The backbone with the proxy's head alone: what is pretrained on real images.

    Args:
        n_proxy_classes: Classes of the proxy.
        generator: Where the weights come from.
        network: One of ``NetworkName``; see :class:`SmallNet`.
    """

    def __init__(self, n_proxy_classes: int, generator: torch.Generator, network: NetworkName = "small") -> None:
        super().__init__(network)
        self.proxy_head = linear(self.n_features, n_proxy_classes)
        initialise(self, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, n_proxy_classes)`` of ``images (batch, 3, 16, 16)``."""
        return self.proxy_head(self.features(images))


class SmallNet(_Backbone, Optimizee):
    """The optimizee of the embedded pairs.

    Layer groups: ``stem``, ``layer1``, ``layer2``, ``layer3``, ``head``; the network ``deep`` has two layers more,
    ``deeper`` six, ``narrow`` half the channels, ``wide`` twice as many. Group normalisation (none in
    ``unnormalised``) instead of batch normalisation and no in-place operation, so that ``torch.func.vmap`` can run a
    population of them.

    Args:
        n_classes: Classes of the task.
        n_proxy_classes: Classes of the proxy; its head is not trained.
        generator: Where the weights come from.
        network: One of ``NetworkName``.
    """

    def __init__(
        self, n_classes: int, n_proxy_classes: int, generator: torch.Generator, network: NetworkName = "small"
    ) -> None:
        super().__init__(network)
        self.feature_layer = self.backbone_groups()[-1]
        self.proxy_head = linear(self.n_features, n_proxy_classes)
        self.n_classes = n_classes
        self.head = nn.Sequential(linear(self.n_features, 32), nn.ReLU(), linear(32, n_classes))
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
        """Compiled CPU kernels, several times as fast as PyTorch; None without Numba or normalisation."""
        if self.network == "unnormalised":
            return None
        try:
            require("numba", extra="kernels", what="training the embedded network at full speed")
        except MissingExtraError as error:
            _tell_once(str(error))
            return None
        from l2o_env.models.kernels.small_net import SmallNetKernels

        return SmallNetKernels(SmallNet(self.n_classes, n_proxy_classes, torch.Generator(), self.network))

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
