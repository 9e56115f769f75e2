"""Settings that all pairs of image files have, and what follows from them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from l2o_env.errors import ConfigError, require_integers, shortened
from l2o_env.models.adapted.by_name import is_name
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.adapted.normalisation import Normalisation, normalisation_of
from l2o_env.pairs.augmentation import Augmentation
from l2o_env.pairs.images.listing import OnError

_log = logging.getLogger("l2o_env")
_UNKNOWN = (
    "Nothing says how images have to be normalised for %s: ImageNet's mean and standard deviation are taken. If it was "
    "trained on [0, 1], give mean=(0,0,0) and std=(1,1,1); if on [-1, 1], mean=(0.5,0.5,0.5) and std=(0.5,0.5,0.5). "
    "When they are given, this is not said."
)


@dataclass(frozen=True)
class ImageSettings:
    """Settings that all pairs of image files have.

    Attributes:
        backbone: The network: a name of torchvision's, ``"FILE.py:NAME"`` or ``"module:NAME"`` of what makes an
            ``nn.Module``, or that function itself. ``NetworkConfig`` says more of this, ``head``, ``groups``,
            ``batchnorm`` and ``feature_layer``.
        weights: The proxy's weights: ``"DEFAULT"``, a file, or ``"train"``: it is pretrained on ``proxy_data``, once.
        proxy_data: Real images to pretrain the proxy on: a folder with one folder per class of the proxy.
        proxy_epochs: Passes over them.
        proxy_learning_rate: Highest learning rate of that.
        head: Name of the proxy's head; empty: the last linear layer.
        groups: Layer groups, if they are not to be found.
        batchnorm: ``"frozen"`` or ``"trained"``.
        feature_layer: Name of the module whose output is the last feature map, if the network does not name it.
        size: Side of the images in pixels, after all.
        resize: Length of the shorter side before the crop; 0: ``size``.
        random_crop: Whether training crops are at a random place (of an image that is enlarged by one of ``scales``)
            instead of the centre.
        scales: Enlargements to draw from.
        mirror: Whether half of the training images are mirrored.
        brightness: Largest random change of brightness, as a share; likewise the next two.
        contrast: Of contrast.
        saturation: Of saturation.
        mean: Subtracted from RGB in [0, 1]; empty: what the published weights of a network known by name expect, and
            ImageNet's for any other: a network that was trained on [0, 1] wants ``(0,0,0)`` and ``(1,1,1)``, one that
            was trained on [-1, 1] wants 0.5 everywhere.
        std: Divides the difference; likewise.
        n_validation: Synthetic images that are held out for V; by a stratified split that never divides what belongs
            together.
        seed: Determines the split.
        proxy_test: Real images with the proxy's labels: a folder with one folder per class, in the order of the
            proxy's classes. Without it there is no "proxy accuracy kept".
        on_error: What files that cannot be used do: ``"raise"`` or ``"skip"``.
        cache_gb: Decoded images that are kept in memory, in GiB for each split.
    """

    backbone: str | Callable[[], nn.Module] = "resnet18"
    weights: str | Path = "DEFAULT"
    proxy_data: str | Path | None = None
    proxy_epochs: int = 30
    proxy_learning_rate: float = 0.05
    head: str = ""
    groups: Any = None
    batchnorm: Any = "frozen"
    feature_layer: str = ""
    size: int = 224
    resize: int = 0
    random_crop: bool = False
    scales: tuple[float, ...] = (1.0,)
    mirror: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    n_validation: int = 500
    seed: int = 0
    proxy_test: str | Path | None = None
    on_error: OnError = "raise"
    cache_gb: float = 4.0
    network: NetworkConfig = field(init=False)
    normalisation_given: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Raises ``ConfigError`` if a value cannot work."""
        require_integers(self, "size", "n_validation", "proxy_epochs")
        require_integers(self, "resize", "seed", least=0)
        for key in ("random_crop", "mirror"):
            if not isinstance(getattr(self, key), bool):
                raise ConfigError(f"{key} is {shortened(getattr(self, key))}; expected true or false.")
        if not isinstance(self.cache_gb, int | float) or self.cache_gb < 0:
            raise ConfigError(f"cache_gb is {self.cache_gb!r}; expected a number >= 0.")
        rate = self.proxy_learning_rate  # checked here too, where it has this name
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
            raise ConfigError(f"proxy_learning_rate is {shortened(rate)}; expected a number > 0.")
        scales = self.scales if isinstance(self.scales, tuple) else (self.scales,)
        object.__setattr__(self, "scales", tuple(float(scale) for scale in scales))
        if (str(self.weights) == "train") != (self.proxy_data is not None):
            raise ConfigError(
                f"weights is {str(self.weights)!r} and proxy_data {self.proxy_data!r}; a proxy is trained with "
                "weights=train and proxy_data=FOLDER, and neither goes without the other."
            )
        self._set_normalisation()
        settings = (self.head, self.groups, self.batchnorm, self.feature_layer)
        object.__setattr__(self, "network", NetworkConfig(self.backbone, self.weights, *settings))
        self.augmentation()

    def _set_normalisation(self) -> None:
        if bool(self.mean) != bool(self.std):
            raise ConfigError("mean and std go together; give both, or neither.")
        known = normalisation_of(self.backbone) if not self.mean else Normalisation(self.mean, self.std)
        object.__setattr__(self, "normalisation_given", bool(self.mean))
        for key, positive in (("mean", False), ("std", True)):
            value = getattr(known, key)
            numbers = value if isinstance(value, tuple | list) else ()
            shares = all(isinstance(x, int | float) and 0 <= x <= 1 for x in numbers)
            if len(numbers) != 3 or not shares or (positive and 0 in numbers):
                raise ConfigError(
                    f"{key} is {shortened(value)}; expected three {'positive ' * positive}numbers of at most 1, those "
                    "of RGB in [0, 1]; divide those of RGB in [0, 255] by 255."
                )
            object.__setattr__(self, key, tuple(float(x) for x in numbers))

    def warn_of_normalisation(self) -> None:
        """Warns if the network's weights expect other colours than are given, or nobody knows which they expect."""
        if not isinstance(self.backbone, str) or not is_name(self.backbone):
            if not self.normalisation_given and self.proxy_data is None:
                _log.warning(_UNKNOWN, self.backbone if isinstance(self.backbone, str) else "the network")
            return
        if str(self.weights) != "DEFAULT":
            return
        known, given = normalisation_of(self.backbone), Normalisation(self.mean, self.std)
        if not np.allclose(known, given, atol=1e-3):
            _log.warning(
                "The weights of %s were trained with mean=%s and std=%s of RGB in [0, 1]; this pair has mean=%s and "
                "std=%s. Leave both out, or give weights that were trained with these.",
                self.backbone,
                *(tuple(round(x, 3) for x in each) for each in (*known, *given)),
            )

    @property
    def cache_bytes(self) -> int:
        """Decoded images that are kept in memory, in bytes for each split."""
        return int(self.cache_gb * 2**30)

    def augmentation(self) -> Augmentation:
        """What is done to training images."""
        crop = self.size if self.random_crop else 0
        return Augmentation(crop, self.scales, self.mirror, self.brightness, self.contrast, self.saturation)


@dataclass(frozen=True)
class DenseSettings(ImageSettings):
    """Settings of pairs with a class for every pixel; those of ``ImageSettings`` with other defaults, and these.

    Training crops and validation images (cut from the centre) are of side ``size``; target images keep their size, but
    for ``target_resize``.

    Attributes:
        backbone: ``"fcn8s"`` (on VGG-16), the name of a torchvision segmentation network, or one's own network
            (``"FILE.py:NAME"``, ``"module:NAME"`` or what makes it): images of any size to logits of the proxy's
            classes at every place. The last convolution of that one (or ``head``) is the proxy's head; the proxy of the
            others is the classification network below them (VGG-16, ResNet-50, …).
        weights: Those of that proxy; ``"train"``: it is pretrained on ``proxy_data``, once.
        proxy_data: Real images to pretrain the proxy on: a folder with one folder per class of the proxy; or, for one's
            own network, of ``images/``, ``masks/`` and ``classes.txt``, cut from the centre at ``size``.
        proxy_test: Real images with the proxy's labels, in either layout.
        width: Channels of FCN-8s, as a share of the published ones.
        resize: Length of the shorter side of source images before the crop; 0: as it is.
        target_resize: Length of the shorter side of target images; 0: as it is.
        sliding_window: Side of the windows that predictions on the target are averaged over, in pixels; 0: the whole
            image at once.
        flip_average: Whether predictions on the target are averaged with those of the mirror image.
    """

    backbone: Any = "fcn8s"
    width: float = 1.0
    size: int = 512
    random_crop: bool = True
    scales: tuple[float, ...] = (0.75, 1.0, 1.25)
    mirror: bool = True
    n_validation: int = 100
    target_resize: int = 0
    sliding_window: int = 1024
    flip_average: bool = False

    def __post_init__(self) -> None:
        """Raises ``ConfigError`` if a value cannot work."""
        super().__post_init__()
        pixels = "a number of pixels, or 0 for none"
        require_integers(self, "target_resize", "sliding_window", least=0, expected=pixels)
