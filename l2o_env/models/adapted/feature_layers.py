"""The last feature map of a network of any kind: which module makes it."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from l2o_env.errors import unknown_name
from l2o_env.models.base import new_generator

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


@torch.no_grad()
def find_feature_map(network: nn.Module, head: str, side: int) -> str:
    """Name of the module that is the last to make a feature map before the head is called; empty if there is none.

    A feature map is ``(n, channels, h, w)`` with more than one place.

    Args:
        network: The whole network in evaluation mode.
        head: Name of its head.
        side: Side of images that it takes, in pixels.
    """
    seen: list[str] = []

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.dim() == 4 and output[0, 0].numel() > 1:
                seen.append(name)

        return hook

    handles = [layer.register_forward_hook(note(name)) for name, layer in network.named_modules() if name]
    handles.append(network.get_submodule(head).register_forward_pre_hook(lambda *_: seen.append(head)))
    try:
        network(torch.randn(1, 3, side, side, generator=new_generator(0)))
    finally:
        for handle in handles:
            handle.remove()
    before = seen[: seen.index(head)]
    return before[-1] if before else ""
