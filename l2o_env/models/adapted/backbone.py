"""Any network as an optimizee: its backbone, its own head frozen, and a new head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from l2o_env.errors import ConfigError, unknown_name
from l2o_env.models.adapted.by_name import auxiliary_heads, builder, is_name, local_seed
from l2o_env.models.adapted.groups import HEAD, Groups, GroupsSetting, choose_groups
from l2o_env.models.adapted.heads import (
    check_network,
    find_feature_map,
    find_head,
    head_inputs,
    head_of,
    n_classes_of,
    n_features,
)
from l2o_env.models.adapted.weights import default_weights, load_weights, read_weights
from l2o_env.models.base import Optimizee
from l2o_env.models.small import initialise

BatchNormMode = Literal["frozen", "trained"]
_FEATURE_LAYERS = {
    "AlexNet": "features",
    "ConvNeXt": "features",
    "DenseNet": "features",
    "EfficientNet": "features",
    "GoogLeNet": "inception5b",
    "Inception3": "Mixed_7c",
    "MNASNet": "layers",
    "MaxVit": "blocks.3",
    "MobileNetV2": "features",
    "MobileNetV3": "features",
    "RegNet": "trunk_output",
    "ResNet": "layer4",
    "ShuffleNetV2": "conv5",
    "SqueezeNet": "features",
    "SwinTransformer": "permute",
    "VGG": "features",
    "VisionTransformer": "encoder",
}
"""Modules whose output is the last feature map of torchvision's networks."""
HIDDEN = 512
"""Width of the new head (Chen et al., 2020): features -> 512 -> ReLU -> classes."""


@dataclass(frozen=True)
class NetworkConfig:
    """Which network, and how it is used.

    Attributes:
        backbone: Name of a torchvision network; ``"FILE.py:NAME"`` or ``"module:NAME"`` of a class or function that
            makes an ``nn.Module``; or that function itself. It maps images to logits of the proxy's classes (at every
            place, for a segmentation), or to a mapping with them under ``"out"`` or ``"logits"``.
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
        with local_seed(0):
            self.head = self.new_head(n_features(self.proxy_head), n_classes)
        initialise(self.head, generator)
        self.requires_grad_(True)
        self.proxy_head.requires_grad_(False)

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
            for part in batch_norms(self.network):
                part.train(training)


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


def feature_layer_of(network: nn.Module, name: str = "", default: str = "") -> str:
    """Name of the module whose output is a network's last feature map; empty if nobody names it.

    Args:
        network: The network.
        name: The setting; empty: the network's attribute or method ``feature_layer``, or what is known of its class.
        default: What else it is.

    Raises:
        ConfigError: If the network has no such module.
    """
    kind, modules = type(network).__name__, [key for key, _ in network.named_modules() if key]
    own = getattr(network, "feature_layer", "")
    named = name or (own() if isinstance(own, MethodType) else own if isinstance(own, str) else "")
    if named and named not in modules:
        raise unknown_name(f"feature_layer of {kind}:", named, modules)
    known = _FEATURE_LAYERS.get(kind, default)
    return named or (known if known in modules else default)


@dataclass(frozen=True)
class Prepared:
    """A proxy and what makes optimizees of it.

    Attributes:
        proxy: The frozen network, images to logits.
        n_proxy_classes: Its classes.
        make_model: Number of classes and generator to an optimizee with the proxy's backbone.
        make_random_model: The same with a backbone drawn from the generator too, whose batch statistics are trained.
    """

    proxy: nn.Module
    n_proxy_classes: int
    make_model: Callable[[int, torch.Generator], Optimizee]
    make_random_model: Callable[[int, torch.Generator], Optimizee]


def prepare(config: NetworkConfig, side: int = 0, *, dense: bool = False) -> Prepared:
    """Builds a network, loads its weights, and finds its head and its layer groups.

    Args:
        config: The network.
        side: Side of images, in pixels, of which it makes a forward pass to tell whether it can; 0: it makes none.
        dense: Whether it is a segmentation network.

    Raises:
        ConfigError: If there is no such network, it has no head, its weights do not fit, groups are incomplete, or
            the forward pass fails.
    """
    build = builder(config.backbone)
    network = build()
    head = find_head(network, config.head, dense=dense)
    network = _weighted(config, build, network, head)
    proxy = network.requires_grad_(False).eval()
    if side:
        check_network(proxy, head, side, dense=dense)
    feature_layer = feature_layer_of(proxy, config.feature_layer)
    if side and not feature_layer and not dense:
        feature_layer = find_feature_map(proxy, head, side)
    bare = deepcopy(proxy)
    bare.set_submodule(head, nn.Identity())
    kind = partial(DenseBackbone if dense else Backbone, head=head, groups=choose_groups(bare, config.groups))
    kind = partial(kind, batchnorm=config.batchnorm, feature_layer=feature_layer)
    return Prepared(
        proxy=proxy,
        n_proxy_classes=n_classes_of(head_of(proxy, head)),
        make_model=partial(_make, kind, proxy),
        make_random_model=partial(_make_random, kind, proxy, build, head),
    )


def weights_of(config: NetworkConfig, known_as: str | None) -> tuple[Mapping[str, Tensor], str]:
    """Weights of a proxy, and what messages call them.

    Args:
        config: The network.
        known_as: Name of the proxy in torchvision; None if it is one's own.

    Raises:
        ConfigError: If there are none.
    """
    if isinstance(config.weights, Mapping):
        return config.weights, "the proxy that was trained"
    if str(config.weights) != "DEFAULT":
        return read_weights(config.weights), str(config.weights)
    if known_as is None:
        raise ConfigError(
            "weights is 'DEFAULT', which is for networks of torchvision; give your network's as weights=FILE."
        )
    return default_weights(known_as), f"torchvision for {known_as}"


def _weighted(config: NetworkConfig, build: Callable[..., nn.Module], network: nn.Module, head: str) -> nn.Module:
    weights, source = weights_of(config, str(config.backbone) if is_name(config.backbone) else None)
    found = weights.get(f"{head}.weight")
    if is_name(config.backbone) and found is not None and len(found) != n_classes_of(head_of(network, head)):
        network = build(num_classes=len(found))  # a proxy with another number of classes than ImageNet
    left_out = tuple(f"{name}." for name in auxiliary_heads(network))
    load_weights(network, {name: w for name, w in weights.items() if not name.startswith(left_out)}, source)
    return network


def _make(kind: Callable[..., Backbone], proxy: nn.Module, n_classes: int, generator: torch.Generator) -> Optimizee:
    """An optimizee of the proxy's network."""
    return kind(deepcopy(proxy), n_classes=n_classes, generator=generator).eval()


def _make_random(
    kind: Callable[..., Backbone],
    proxy: nn.Module,
    build: Callable[..., nn.Module],
    head: str,
    n_classes: int,
    generator: torch.Generator,
) -> Optimizee:
    """An optimizee of the proxy's network as its constructor draws it, with the proxy's head.

    Its batch statistics are trained whatever the setting: there are none of the proxy's to keep, and with mean 0 and
    variance 1 the activations of a deep residual network double from block to block.
    """
    network = build(int(torch.randint(2**62, (), generator=generator)))
    network.set_submodule(head, deepcopy(head_of(proxy, head)))
    return kind(network, n_classes=n_classes, generator=generator, batchnorm="trained").eval()


def batch_norms(*networks: nn.Module) -> list[nn.Module]:
    """Their layers of batch normalisation."""
    return [part for n in networks for part in n.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
