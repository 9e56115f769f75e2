"""Which network is adapted, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from torch import Tensor, nn

from l2o_env.errors import unknown_name
from l2o_env.models.adapted.groups import GroupsSetting

BatchNormMode = Literal["frozen", "trained"]


@dataclass(frozen=True)
class NetworkConfig:
    """Which network, and how it is used.

    Attributes:
        backbone: Name of a torchvision network, or of one of timm's (extra ``timm``); ``"FILE.py:NAME"`` or
            ``"module:NAME"`` of a class or function that makes an ``nn.Module``; or that function itself. It maps
            images to logits of the proxy's classes (at every place, for a segmentation), or to a mapping with them
            under ``"out"`` or ``"logits"``.
        weights: ``"DEFAULT"`` (torchvision's), or a file: safetensors, or a PyTorch file of tensors alone; or the
            tensors themselves, by name.
        head: Name of the layer that is the proxy's head; empty: the last linear layer (without one: the last 1x1
            convolution), or the last convolution of a segmentation network.
        groups: Layer groups by name, as parameter names or prefixes of them; or a function of the network that
            returns that, or such a function's ``"FILE.py:NAME"``; None: found by themselves.
        batchnorm: ``"frozen"``: the proxy's statistics stay, as in the paper, and a new head does without;
            ``"trained"``: they go on.
        feature_layer: Name of the module whose output is the last feature map, for the guidance terms ``feature`` and
            ``csg``; empty: what the network's attribute ``feature_layer`` says, if it has one, or what is known of it,
            or the last one before its head.

    Raises:
        ConfigError: If a value cannot work.
    """

    backbone: str | Callable[[], nn.Module] = "resnet18"
    weights: str | Path | Mapping[str, Tensor] = "DEFAULT"
    head: str = ""
    groups: GroupsSetting = None
    batchnorm: BatchNormMode = "frozen"
    feature_layer: str = ""

    def __post_init__(self) -> None:
        if self.batchnorm not in get_args(BatchNormMode):
            raise unknown_name("batchnorm", self.batchnorm, get_args(BatchNormMode))
