"""The proxy's head in a network of any kind: which layer it is, and what goes into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from l2o_env.errors import ConfigError, unknown_name

Head = nn.Linear | nn.Conv2d


def find_head(network: nn.Module, name: str = "", *, dense: bool = False) -> str:
    """Name of the layer that the proxy's classes come out of.

    Args:
        network: The whole network.
        name: The layer, if it is known; empty: the last linear layer, or the last 1x1 convolution where there is none
            (SqueezeNet); the last convolution of a `dense` network.
        dense: Whether the network has logits for every place of the image.

    Raises:
        ConfigError: If there is none.
    """
    layers = {key: layer for key, layer in network.named_modules() if _may_be_head(layer, dense)}
    if name and name not in layers:
        kind = "convolution" if dense else "linear layer or convolution"
        raise unknown_name(f"{kind} of {type(network).__name__}:", name, layers)
    linear = [key for key, layer in layers.items() if isinstance(layer, nn.Linear)]
    pointwise = [key for key, layer in layers.items() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)]
    candidates = list(layers) if dense else linear or pointwise
    if not candidates:
        expected = (
            "the proxy's classes at every place that ends with a torch.nn.Conv2d"
            if dense
            else "the proxy's classes that ends with a torch.nn.Linear"
        )
        raise ConfigError(f"{type(network).__name__} has no head: expected a network from images to {expected}.")
    return name or candidates[-1]


def _may_be_head(layer: nn.Module, dense: bool) -> bool:
    if isinstance(layer, NonDynamicallyQuantizableLinear):  # inside nn.MultiheadAttention, which never calls it
        return False
    return isinstance(layer, nn.Conv2d if dense else nn.Linear | nn.Conv2d)


def head_of(network: nn.Module, name: str) -> Head:
    """The layer that :func:`find_head` named."""
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    return layer


def n_features(head: Head) -> int:
    """Features that go into a head."""
    return head.in_features if isinstance(head, nn.Linear) else head.in_channels


def n_classes_of(head: Head) -> int:
    """Classes that come out of it."""
    return head.out_features if isinstance(head, nn.Linear) else head.out_channels


@contextmanager
def head_inputs(head: nn.Module) -> Iterator[list[Tensor]]:
    """Collects what goes into a head in the forward passes that are made in the block."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kept.append(args[0] if args else kwargs["input"])

    handle = head.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield kept
    finally:
        handle.remove()
