"""What the embedded networks are built of, drawn from a generator of the caller's.

GroupNorm instead of batch normalisation and no operation in place, so that ``torch.func.vmap`` can run a population.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

GROUPS = 4
"""Groups of every GroupNorm."""
FEATURES = 32
"""Channels of the last block of the network for segmentation."""
_Module = TypeVar("_Module", bound=nn.Module)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draws every convolution and linear layer (Kaiming normal, zero bias); norms become the identity.

    Args:
        module: Changed in place; nothing is drawn from the global generators.
        generator: Where the weights come from, in the order of ``module.modules()``.
    """
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                std = (2.0 / layer.weight[0].numel()) ** 0.5
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * std)
                if layer.bias is not None:
                    layer.bias.zero_()
            elif isinstance(layer, nn.GroupNorm):
                layer.weight.fill_(1.0)
                layer.bias.zero_()


def convolution(n_in: int, n_out: int, kernel: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    """A convolution that keeps the size of images but for its stride; not drawn yet, see :func:`initialise`."""
    return _undrawn(nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=bias, device="meta"))


def linear(n_in: int, n_out: int) -> nn.Linear:
    """A linear layer; not drawn yet, see :func:`initialise`."""
    return _undrawn(nn.Linear(n_in, n_out, device="meta"))


def _undrawn(layer: _Module) -> _Module:
    # The constructor's own initialisation would draw from the global generator; on the meta device it draws nothing.
    return layer.to_empty(device="cpu")


def _norm(n: int, normalised: bool) -> nn.Module:
    return nn.GroupNorm(GROUPS, n) if normalised else nn.Identity()


class Stem(nn.Module):
    """Convolution of stride 2, GroupNorm, ReLU.

    Args:
        n_in: Channels of the images.
        n_out: Channels of the result, a multiple of ``GROUPS``.
        normalised: False leaves GroupNorm out.
    """

    def __init__(self, n_in: int, n_out: int, *, normalised: bool = True) -> None:
        super().__init__()
        self.conv = convolution(n_in, n_out, 3, 2)
        self.norm = _norm(n_out, normalised)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``(batch, n_in, h, w)`` to ``(batch, n_out, h / 2, w / 2)``."""
        return F.relu(self.norm(self.conv(x)))


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, which is a 1x1 convolution where the shape changes.

    Args:
        n_in: Channels of the input.
        n_out: Channels of the output, a multiple of ``GROUPS``.
        stride: Of the first convolution and the shortcut.
        normalised: False leaves GroupNorm out.
    """

    def __init__(self, n_in: int, n_out: int, stride: int, *, normalised: bool = True) -> None:
        super().__init__()
        self.conv1 = convolution(n_in, n_out, 3, stride)
        self.norm1 = _norm(n_out, normalised)
        self.conv2 = convolution(n_out, n_out, 3)
        self.norm2 = _norm(n_out, normalised)
        self.shortcut = nn.Identity() if stride == 1 and n_in == n_out else convolution(n_in, n_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, n_in, h, w)`` to ``(batch, n_out, h / stride, w / stride)``."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))
