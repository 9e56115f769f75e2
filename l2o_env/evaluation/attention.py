"""Where networks look (Grad-CAM; Selvaraju et al., 2017), and how much of it lies on the object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.errors import ConfigError, unknown_name
from l2o_env.extras import require
from l2o_env.models.base import Optimizee

MIN_PLACES = 4
"""Grad-CAM reads the deepest layer whose feature map has at least so many rows and columns."""
CHUNK = 64
"""Images per attribution."""
_SHOWN = 12
"""Most layers that a message names."""


@dataclass(frozen=True)
class Look:
    """What one network does on images.

    Attributes:
        maps: Attention ``(n, height, width)``; each map sums to 1, or is 0 where nothing speaks for the class.
        predicted: Classes ``(n,)``.
        layer: Name of the module whose output was read.
    """

    maps: NDArray[np.float64]
    predicted: NDArray[np.int64]
    layer: str

    def of(self, images: Sequence[int]) -> Look:
        """The same of some of the images, by their indices."""
        return Look(self.maps[images], self.predicted[images], self.layer)


def look(model: Optimizee, images: Tensor, layer: str | None = None) -> Look:
    """Grad-CAM of the predicted class.

    Args:
        model: The network.
        images: ``(n, channels, height, width)``.
        layer: Module whose output is read; None: the deepest one with at least 4 x 4 places.

    Raises:
        ConfigError: If there is no such module, its output is no feature map, or Captum is not installed.
    """
    require("captum", extra="attention", what="Grad-CAM")
    from captum.attr import LayerAttribution, LayerGradCam

    name = deepest_map(model, images[:1]) if layer is None else layer
    if name not in dict(model.named_modules()):
        raise unknown_name("layer", name, [n for n, _ in model.named_modules() if n])
    grad_cam = LayerGradCam(lambda x: model(x)[0], model.get_submodule(name))
    maps, predicted = [], []
    for chunk in images.split(CHUNK):
        with torch.no_grad():
            classes = model(chunk)[0].argmax(-1)
        attribution = grad_cam.attribute(chunk, target=classes, relu_attributions=True)
        if not isinstance(attribution, Tensor) or attribution.dim() != 4:
            raise ConfigError(f"The output of {name!r} is no feature map (n, channels, height, width); name another.")
        resized = LayerAttribution.interpolate(attribution.detach(), tuple(images.shape[-2:]), "bilinear")
        maps.append(resized[:, 0].clamp(min=0).double())
        predicted.append(classes)
    attention = torch.cat(maps)
    total = attention.sum((-2, -1), keepdim=True)  # 0 where nothing speaks for the class: such a map stays 0
    return Look((attention / total.clamp(min=1e-12)).numpy(), torch.cat(predicted).numpy(), name)


def deepest_map(model: Optimizee, image: Tensor) -> str:
    """Name of the deepest layer group that is a module with a feature map of at least 4 x 4 places.

    Where there is none, the network's own last feature map is taken.

    Raises:
        ConfigError: If it names none either; the message lists modules that make one.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def keep(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                shapes[name] = tuple(output.shape)

        return hook

    # The groups are modules beside the last feature map: in an adapted network these lie inside its backbone.
    parent = (model.feature_layer or "").rpartition(".")[0]
    groups = [f"{parent}.{group}".strip(".") for group in model.layer_groups()]
    handles = [module.register_forward_hook(keep(name)) for name, module in model.named_modules() if name]
    with torch.no_grad():
        model(image)
    for handle in handles:
        handle.remove()
    maps = {name: min(shape[-2:]) for name, shape in shapes.items() if len(shape) == 4 and min(shape[-2:]) > 1}
    large = [name for name, places in maps.items() if name in groups and places >= MIN_PLACES]
    deepest = large[-1] if large else model.feature_layer
    if deepest is None:
        known = ", ".join(list(maps)[-_SHOWN:])
        hint = f"name a layer (--layer), one of {known}" if maps else "no module of it makes one"
        raise ConfigError(f"{type(model).__name__} names no feature map with several places; {hint}.")
    return deepest


def share_on_object(maps: NDArray[np.float64], masks: NDArray[np.bool_]) -> float:
    """Share of attention inside the objects' masks, mean over the images that have any attention.

    Args:
        maps: ``(n, height, width)``, each of sum 1 or 0.
        masks: ``(n, height, width)``.
    """
    some = maps.sum((1, 2)) > 0
    return float((maps * masks).sum((1, 2))[some].mean()) if some.any() else float("nan")
