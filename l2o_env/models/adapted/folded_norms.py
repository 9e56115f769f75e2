"""Frozen batch normalisation, computed by the convolution before it.

With frozen statistics it is one factor and one offset per channel, which the convolution's weights take up: the same
numbers but for rounding, without a pass over the feature maps forward and another backward. Scale and offset are
trained as before: gradients go through the product of the weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

_RESNET = "torchvision.models.resnet"
_OF_SEGMENTATION = "IntermediateLayerGetter"
"""Torchvision's class for the backbone of a segmentation network."""
_KNOWN = ("torchvision.", "l2o_env.")
"""Packages whose subclasses of ``nn.Sequential`` run their children in turn, whatever else they do."""


class _Convolution(nn.Conv2d):
    """A convolution that does the normalisation behind it, too.

    While batch statistics are trained, both do their own work.
    """

    _norm: tuple[_Norm]  # in a tuple it is no child, and keeps its name in the network

    def forward(self, images: Tensor) -> Tensor:
        """Feature maps to normalised feature maps, in training to feature maps."""
        (norm,) = self._norm
        if norm.training:
            return super().forward(images)
        if self._n_places(images) < self.weight[0].numel():  # fewer numbers in the feature maps than in the weights
            return norm.normalised(super().forward(images))
        assert norm.running_mean is not None and norm.running_var is not None
        scale = torch.rsqrt(norm.running_var + norm.eps)
        if norm.weight is not None:
            scale = scale * norm.weight
        offset = -norm.running_mean if self.bias is None else self.bias - norm.running_mean
        offset = offset * scale if norm.bias is None else torch.addcmul(norm.bias, offset, scale)
        return self._conv_forward(images, self.weight * scale[:, None, None, None], offset)

    def _n_places(self, images: Tensor) -> int:
        """Of the feature maps of all images, about."""
        return images.shape[0] * images.shape[-2] * images.shape[-1] // (self.stride[0] * self.stride[1])


class _Norm(nn.BatchNorm2d):
    """The normalisation that a convolution does, while its statistics are frozen."""

    def forward(self, images: Tensor) -> Tensor:
        """Feature maps as they come; normalised while statistics are trained."""
        return super().forward(images) if self.training else images

    def normalised(self, images: Tensor) -> Tensor:
        """What an ``nn.BatchNorm2d`` makes of feature maps."""
        return super().forward(images)


def fold_norms(network: nn.Module, *apart: str) -> None:
    """Lets convolutions do the batch normalisation that follows them, in place, where that is known to follow.

    It is known in ``nn.Sequential`` and in torchvision's residual blocks. Names of parameters and buffers stay.

    Args:
        network: Any network.
        apart: Names of modules whose own output is read, and so stays.
    """
    kept = {id(network.get_submodule(name)) for name in apart if name}
    places = Counter(id(module) for _, module in network.named_modules(remove_duplicate=False))
    for convolution, norm in _pairs(network):
        once = places[id(convolution)] == places[id(norm)] == 1
        if once and id(convolution) not in kept and norm.track_running_stats:
            convolution.__class__, norm.__class__ = _Convolution, _Norm
            convolution._norm = (norm,)  # type: ignore[assignment]


def unfold_norms(network: nn.Module) -> nn.Module:
    """The same network, changed in place, of plain layers again."""
    for module in network.modules():
        if isinstance(module, _Convolution):
            del module._norm
            module.__class__ = nn.Conv2d  # type: ignore[assignment]
        elif isinstance(module, _Norm):
            module.__class__ = nn.BatchNorm2d  # type: ignore[assignment]
    return network


def _pairs(network: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the normalisation that their output goes to, and nothing else."""
    for parent in network.modules():
        if _in_turn(type(parent)):
            for convolution, norm in pairwise(parent.children()):
                if type(convolution) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
                    yield convolution, norm


def _in_turn(kind: type[nn.Module]) -> bool:
    """Whether modules of a class run normalisation right after the convolution that stands before it."""
    if issubclass(kind, nn.Sequential):
        return kind.forward is nn.Sequential.forward or kind.__module__.startswith(_KNOWN)
    return kind.__module__ == _RESNET or kind.__name__ == _OF_SEGMENTATION
