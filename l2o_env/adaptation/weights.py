"""Weights and buffers of a network by one name each: the proxy's head is a part of a backbone too, and has two."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from torch import Tensor, nn


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """What ``state_dict`` holds, each tensor by the first of its names, as safetensors asks for."""
    first = {name for name, _ in chain(network.named_parameters(), network.named_buffers())}
    return {name: tensor for name, tensor in network.state_dict().items() if name in first}


def load_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Takes up what :func:`weights_of` returned.

    Raises:
        ValueError: If it is of another network; it names up to three weights that differ.
    """
    expected = weights_of(network)
    wrong = sorted(set(expected) ^ set(weights))
    wrong += [name for name in expected if name in weights and expected[name].shape != weights[name].shape]
    if wrong:
        raise ValueError(f"they differ in {', '.join(wrong[:3])}{', …' if len(wrong) > 3 else ''}")
    network.load_state_dict(dict(weights), strict=False)  # other names of the same tensors are not in them
