"""FCN-8s on VGG-16, written from its publication (Long, Shelhamer & Darrell, CVPR 2015).

One thing differs: convolution fc6 is padded by 3, so that every place of the image has an answer, where the publication
pads the image by 100 pixels and crops. The answers inside the image are about the same places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from l2o_env.errors import ConfigError
from l2o_env.models.adapted.groups import HEAD, Groups, named_groups
from l2o_env.models.base import Optimizee

FCN8S = "fcn8s"
"""How settings call it."""
CHANNELS = (64, 128, 256, 512, 512)
CONVOLUTIONS = (2, 2, 3, 3, 3)
FC = 4096
_TRUNK = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
_GROUPS = {**{name: [name] for name in _TRUNK[:5]}, "fc": ["fc6", "fc7"]}


class _Trunk(nn.Module):
    """VGG-16 with its fully connected layers as convolutions.

    Args:
        width: Channels, as a share of the publication's.
    """

    feature_layer: str | None = "fc7"

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        if not 0 < width <= 1:
            raise ConfigError(f"width is {width!r}; expected a share of VGG-16's channels, above 0 and up to 1.")
        channels = [max(1, round(width * c)) for c in CHANNELS]
        before = 3
        for k, (n_out, depth) in enumerate(zip(channels, CONVOLUTIONS, strict=True), 1):
            layers: list[nn.Module] = []
            for _ in range(depth):
                layers += [nn.Conv2d(before, n_out, 3, padding=1), nn.ReLU()]
                before = n_out
            # Half of a pixel at the border counts as one, so that images of any size work.
            self.add_module(f"conv{k}", nn.Sequential(*layers, nn.MaxPool2d(2, ceil_mode=True)))
        self.fc = max(1, round(width * FC))
        self.fc6 = nn.Sequential(nn.Conv2d(before, self.fc, 7, padding=3), nn.ReLU())
        self.fc7 = nn.Sequential(nn.Conv2d(self.fc, self.fc, 1), nn.ReLU())
        self.channels = channels
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # so that a network this deep can be trained without normalisation
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the heads read: pool3, pool4 and fc7, at 1/8, 1/16 and 1/32 of the image's resolution."""
        outputs = {}
        for name in _TRUNK:
            images = outputs[name] = self.get_submodule(name)(images)
        return outputs["conv3"], outputs["conv4"], outputs["fc7"]


class FCN8sProxy(_Trunk):
    """VGG-16 that answers for every place of its last feature map.

    Args:
        n_proxy_classes: Classes of the proxy.
        width: Channels, as a share of VGG-16's.
    """

    def __init__(self, n_proxy_classes: int, width: float = 1.0) -> None:
        super().__init__(width)
        self.proxy_head = nn.Conv2d(self.fc, n_proxy_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, n_proxy_classes, h / 32, w / 32)``."""
        return self.proxy_head(self.features(images)[2])

    def layer_groups(self) -> dict[str, list[str]]:
        """Prefixes of the trunk's parameters by group."""
        return _GROUPS


class FCN8sClassifier(FCN8sProxy):
    """The same as a classification network, to be pretrained: the mean of its logits over all places."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, n_proxy_classes)``."""
        return super().forward(images).mean((-2, -1))


class FCN8s(_Trunk, Optimizee):
    """FCN-8s: scores of fc7, pool4 and pool3, each enlarged to the next and added.

    Layer groups: ``conv1`` to ``conv5``, ``fc`` (fc6 and fc7) unless others are given, and ``head`` (scores and their
    enlargement). Dropout is left out, as ASG trains without it.

    Args:
        proxy: Gives the frozen head, and the trunk's weights.
        n_classes: Classes of the task.
        width: Channels, as a share of VGG-16's.
        groups: Layer groups of the trunk, as parameter names or prefixes of them.
        pretrained: Whether the trunk is the proxy's; else it is drawn.
    """

    def __init__(
        self,
        proxy: FCN8sProxy,
        n_classes: int,
        width: float = 1.0,
        groups: Mapping[str, Sequence[str]] = _GROUPS,
        *,
        pretrained: bool = True,
    ) -> None:
        super().__init__(width)
        self._groups = named_groups(self, groups)  # of the trunk, which is all there is yet
        self.up2 = _enlarging(n_classes, 4, 2)
        self.up4 = _enlarging(n_classes, 4, 2)
        self.up8 = _enlarging(n_classes, 16, 8)
        self.score_pool3 = nn.Conv2d(self.channels[2], n_classes, 1)
        self.score_pool4 = nn.Conv2d(self.channels[3], n_classes, 1)
        self.score_fc7 = nn.Conv2d(self.fc, n_classes, 1)
        for skip in (self.score_pool3, self.score_pool4):  # as published: they begin to count as they are trained
            nn.init.zeros_(skip.weight)
            nn.init.zeros_(skip.bias)  # type: ignore[arg-type]
        if pretrained:
            for name in _TRUNK:
                self.get_submodule(name).load_state_dict(proxy.get_submodule(name).state_dict())
        self.proxy_head = deepcopy(proxy.proxy_head).requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(batch, n_classes, h, w)`` and ``(batch, n_proxy_classes, h / 32, w / 32)``."""
        pool3, pool4, fc7 = self.features(images)
        scores = self.score_pool4(pool4) + _cut(self.up2(self.score_fc7(fc7)), pool4)
        scores = self.score_pool3(pool3) + _cut(self.up4(scores), pool3)
        return _cut(self.up8(scores), images), self.proxy_head(fc7)

    def layer_groups(self) -> Groups:
        """Parameter names by group."""
        head = [name for name, _ in self.named_parameters() if name.startswith(("up", "score"))]
        return {**self._groups, HEAD: head}


def _enlarging(n: int, kernel: int, stride: int) -> nn.ConvTranspose2d:
    """A transposed convolution that interpolates bilinearly, until it is trained."""
    layer = nn.ConvTranspose2d(n, n, kernel, stride, padding=(kernel - stride) // 2, bias=False)
    along = 1 - (torch.arange(kernel) - (kernel - 1) / 2).abs() / stride
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[torch.arange(n), torch.arange(n)] = along[:, None] * along[None, :]
    return layer


def _cut(scores: Tensor, like: Tensor) -> Tensor:
    return scores[..., : like.shape[-2], : like.shape[-1]]


def from_vgg(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names and shapes of torchvision's VGG-16 as those of :class:`FCN8sProxy`; what is not VGG's keeps its name."""
    convolutions = sorted(
        {int(name.split(".")[1]) for name in weights if name.startswith("features.") and name.split(".")[1].isdigit()}
    )
    places = [f"conv{k}.{2 * i}" for k, depth in enumerate(CONVOLUTIONS, 1) for i in range(depth)]
    renamed = {f"features.{old}": new for old, new in zip(convolutions, places, strict=False)}
    renamed |= {"classifier.0": "fc6.0", "classifier.3": "fc7.0", "classifier.6": "proxy_head"}
    converted = {}
    for name, tensor in weights.items():
        layer, _, kind = name.rpartition(".")  # weight or bias
        if layer.startswith("classifier.") and tensor.dim() == 2:
            side = 7 if layer == "classifier.0" and tensor.shape[1] % 49 == 0 else 1
            tensor = tensor.reshape(len(tensor), -1, side, side)
        converted[f"{renamed.get(layer, layer)}.{kind}"] = tensor
    return converted
