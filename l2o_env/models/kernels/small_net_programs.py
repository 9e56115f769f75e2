"""Writes the programs of a ``l2o_env.models.small.SmallNet``: where everything is, and which kernel does what when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from l2o_env.models.kernels import program
from l2o_env.models.kernels.convolution import Conv
from l2o_env.models.kernels.normalisation import EPSILON, GROUPS, Norm
from l2o_env.models.kernels.tiles import CHANNELS, TILE, padded

IMAGE_CHANNELS, IMAGE_SIZE = 3, 16
CACHE_LINE = 16
"""Floats in a cache line of the processor, at whose multiples everything begins."""

Step = tuple[int, ...]
"""An operation and its operands."""


class _Block(NamedTuple):
    """What a residual block computed forward, for the way back."""

    x: int
    conv1: Conv
    norm1: Norm
    conv2: Conv
    norm2: Norm
    shortcut: Conv | None


class _Linear(NamedTuple):
    """A linear layer, the places of its input and output, and place and length of its bias."""

    conv: Conv
    x: int
    y: int
    bias: tuple[int, int]


class SmallNetPrograms:
    """Walks through the modules of a network, gives everything a place in the buffers, and writes its programs.

    Args:
        network: A ``SmallNet``, of which only the shapes are read.

    Attributes:
        n_weights: Trained weights; they are at place 0, the weight and bias of the proxy's head after them.
        n_classes: Classes of the new head.
        n_proxy_classes: Classes of the proxy's head.
        n_features: Features that both heads read.
        image: Place of a tile's images.
        n_floats: Length of the buffers.
        n_once: Steps at the beginning of each program that are for the first tile only.
        of_total: The program ``(n_steps, WIDTH)`` of the losses and the gradient of the total.
        of_both: The same, and then the gradient of the divergence alone.
        of_logits: The program of the logits.
    """

    def __init__(self, network: Any) -> None:
        self._names = {module: name for name, module in network.named_modules()}
        self._places: dict[str, int] = {}
        self.n_floats = 0
        trained = [name for names in network.layer_groups().values() for name in names]
        for name in (*trained, "proxy_head.weight", "proxy_head.bias"):
            self._places[name] = self.n_floats
            self.n_floats += network.get_parameter(name).numel()
        self.n_weights = self._places["proxy_head.weight"]
        self.n_classes = network.head[2].out_features
        self.n_proxy_classes, self.n_features = network.proxy_head.out_features, network.proxy_head.in_features
        self.n_floats = padded(self.n_floats, CACHE_LINE)
        self.image = self._place(IMAGE_SIZE, IMAGE_SIZE, CHANNELS, TILE)
        self._pack: list[Step] = []
        self._forward: list[Step] = []
        self._write(network)

    def _write(self, net: Any) -> None:
        stem, stem_norm = self._normalised(net.stem.conv, net.stem.norm, self.image, IMAGE_SIZE)
        x, size = stem_norm.y, stem.out_size
        blocks = []
        for name in net.backbone_groups()[1:]:
            blocks.append(self._block(net.get_submodule(name), x, size))
            x, size = blocks[-1].norm2.y, blocks[-1].conv1.out_size
        n = blocks[-1].conv2.n_out
        features = self._activations(n)
        self._forward.append((program.MEAN, x, features, size**2, n))
        hidden = self._linear(net.head[0], features, relu=True)
        logits, proxy = self._linear(net.head[2], hidden.y), self._linear(net.proxy_head, features)

        d_logits, d_proxy = self._activations(logits.conv.n_out), self._activations(proxy.conv.n_out)
        d_features, d_hidden = self._activations(n), self._activations(hidden.conv.n_out)
        cross_entropy = (program.CROSS_ENTROPY, logits.y, d_logits, logits.conv.real_out)
        divergence = (program.DIVERGENCE, proxy.y, d_proxy, proxy.conv.real_out)
        of_head = [
            *_linear_backward(logits, d_logits, d_hidden),
            (program.MASK, hidden.y, d_hidden, hidden.conv.n_out),
            *_linear_backward(hidden, d_hidden, d_features, accumulate=True),  # to the proxy head's share of it
        ]
        of_proxy_head = (program.CONVOLVE, *proxy.conv, d_proxy, d_features, 1, 0)  # it has no gradient of its own
        # Gradients of activations change places with one another, in buffers as long as the largest.
        largest = max(norm.n * norm.pixels for norm in (stem_norm, *(b.norm2 for b in blocks)))
        dx, dy, *work = (self._place(largest, TILE) for _ in range(4))
        of_backbone: list[Step] = [(program.MEAN_BACKWARD, d_features, dy, size**2, n)]
        for block in reversed(blocks):
            of_backbone += _block_backward(block, dy, dx, *work)
            if block.shortcut is not None:
                dx, dy = dy, dx
        of_backbone.append((program.NORMALISE_BACKWARD, *stem_norm, dy, work[0]))
        of_backbone.append((program.WEIGHT_GRADIENT, *stem, self.image, work[0]))

        start = [*self._pack, *self._forward]
        total = [*start, cross_entropy, (*divergence, 0), of_proxy_head, *of_head, *of_backbone]
        self.n_once = len(self._pack)
        self.of_total = _rows(total)
        self.of_both = _rows([*total, (*divergence, 1), of_proxy_head, *of_backbone])
        self.of_logits = _rows([*start, (program.LOGITS, logits.y, proxy.y)])

    def _place(self, *shape: int) -> int:
        place = self.n_floats
        self.n_floats += padded(int(np.prod(shape)), CACHE_LINE)
        return place

    def _activations(self, n: int, size: int = 1) -> int:
        return self._place(size, size, padded(n), TILE)

    def _conv(self, module: nn.Module, size: int) -> Conv:
        """A convolution of images of this size, or a linear layer."""
        if isinstance(module, nn.Conv2d):
            real, kernel, stride = (module.in_channels, module.out_channels), module.kernel_size[0], module.stride[0]
        else:
            assert isinstance(module, nn.Linear)
            real, kernel, stride = (module.in_features, module.out_features), 1, 1
        n_in, n_out = (padded(n) for n in real)
        packed, transposed = (self._place(n_in, n_out, kernel, kernel) for _ in range(2))
        weight = self._places[f"{self._names[module]}.weight"]
        out_size = padded(size, stride) // stride
        conv = Conv(n_in, n_out, size, out_size, kernel, stride, *real, weight, packed, transposed)
        self._pack.append((program.PACK, *conv))
        return conv

    def _convolved(self, module: nn.Module, x: int, size: int) -> tuple[Conv, int]:
        """A convolution, and the place of its output."""
        conv = self._conv(module, size)
        y = self._activations(conv.n_out, conv.out_size)
        self._forward.append((program.CONVOLVE, *conv, x, y, 0, 0))
        return conv, y

    def _normalised(
        self, module: nn.Module, norm: nn.GroupNorm, x: int, size: int, beside: int = -1
    ) -> tuple[Conv, Norm]:
        """A convolution, GroupNorm, the sum with the shortcut's output at ``beside``, ReLU."""
        assert norm.num_groups == GROUPS and norm.eps == EPSILON
        conv, y = self._convolved(module, x, size)
        weight, size = self._places[f"{self._names[norm]}.weight"], conv.out_size
        out, scale = self._activations(conv.n_out, size), self._place(GROUPS, TILE)
        record = Norm(conv.n_out, size**2, weight, y, out, scale)
        self._forward.append((program.NORMALISE, *record, beside))
        return conv, record

    def _block(self, module: Any, x: int, size: int) -> _Block:
        shortcut, beside = None, x
        if not isinstance(module.shortcut, nn.Identity):
            shortcut, beside = self._convolved(module.shortcut, x, size)
        conv1, norm1 = self._normalised(module.conv1, module.norm1, x, size)
        conv2, norm2 = self._normalised(module.conv2, module.norm2, norm1.y, conv1.out_size, beside)
        return _Block(x, conv1, norm1, conv2, norm2, shortcut)

    def _linear(self, module: nn.Module, x: int, relu: bool = False) -> _Linear:
        conv, y = self._convolved(module, x, 1)
        bias = self._places[f"{self._names[module]}.bias"], conv.real_out
        self._forward.append((program.BIAS, y, *bias, int(relu)))
        return _Linear(conv, x, y, bias)


def _backward(conv: Conv, x: int, dy: int, dx: int, accumulate: bool = False) -> list[Step]:
    """The gradient of the weights and that of the input, which may be added to what is there."""
    return [(program.WEIGHT_GRADIENT, *conv, x, dy), (program.CONVOLVE, *conv, dy, dx, 1, int(accumulate))]


def _linear_backward(layer: _Linear, dy: int, dx: int, accumulate: bool = False) -> list[Step]:
    return [*_backward(layer.conv, layer.x, dy, dx, accumulate), (program.BIAS_GRADIENT, dy, *layer.bias)]


def _block_backward(block: _Block, dy: int, dx: int, work: int, other: int) -> list[Step]:
    """From the gradient after the block, at ``dy``, to that before it: at ``dy`` for the identity, else at ``dx``."""
    identity = block.shortcut is None
    steps: list[Step] = [
        (program.NORMALISE_BACKWARD, *block.norm2, dy, work),
        *_backward(block.conv2, block.norm1.y, work, other),
        (program.NORMALISE_BACKWARD, *block.norm1, other, work),
        *_backward(block.conv1, block.x, work, dy if identity else dx, accumulate=identity),
    ]
    if block.shortcut is not None:
        steps += _backward(block.shortcut, block.x, dy, dx, accumulate=True)
    return steps


def _rows(steps: Iterable[Step]) -> NDArray[np.int64]:
    """A program: all of one width, filled up with zeros."""
    return np.array([(*step, *[0] * (program.WIDTH - len(step))) for step in steps], dtype=np.int64)
