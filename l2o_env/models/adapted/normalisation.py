"""How images come to the numbers that a network was trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from l2o_env.models.adapted.by_name import OWN, is_name
from l2o_env.models.adapted.fcn8s import FCN8S


class Normalisation(NamedTuple):
    """What is subtracted from RGB in [0, 1], and what the difference is divided by."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def normalisation_of(backbone: str | Callable[[], nn.Module]) -> Normalisation:
    """What the published weights of a network expect; ImageNet's of one's own, of which nothing is known.

    Args:
        backbone: The network, as ``NetworkConfig`` has it.
    """
    if not isinstance(backbone, str) or not is_name(backbone) or backbone == FCN8S:
        return IMAGENET
    if backbone in OWN:
        return Normalisation(*OWN[backbone].normalisation)
    from torchvision.models import get_model_weights, list_models

    if backbone in list_models():
        known = list(get_model_weights(backbone))
        preset: Any = get_model_weights(backbone).DEFAULT.transforms() if known else IMAGENET
        return Normalisation(tuple(preset.mean), tuple(preset.std))
    try:
        import timm

        known_to_timm = timm.get_pretrained_cfg(backbone)
    except (ImportError, RuntimeError):  # told when the network is made
        return IMAGENET
    return IMAGENET if known_to_timm is None else Normalisation(known_to_timm.mean, known_to_timm.std)
