"""Pairs of image files with a class for every pixel: what they have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from l2o_env.errors import ConfigError
from l2o_env.models.segmentation import prepare_dense
from l2o_env.pairs.base import Pair
from l2o_env.pairs.files import Listing, verified
from l2o_env.pairs.heldout import hold_out
from l2o_env.pairs.image_pair import ImageSettings, ModelMaker, proxy_test_of, require_same_classes
from l2o_env.pairs.images import ImageSplit, Size


@dataclass(frozen=True)
class DenseSettings(ImageSettings):
    """Settings of pairs with a class for every pixel; those of ``ImageSettings`` with other defaults, and these.

    Training crops and validation images (cut from the centre) are of side ``size``; target images keep their size, but
    for ``target_resize``.

    Attributes:
        backbone: ``"fcn8s"`` (on VGG-16) or the name of a torchvision segmentation network.
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
        if self.proxy_data is not None:
            raise ConfigError("Proxies of segmentation networks are not trained here; give weights=DEFAULT or a file.")
        for key in ("target_resize", "sliding_window"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ConfigError(f"{key} is {value!r}; expected a number of pixels, or 0 for none.")


def build_dense_pair(name: str, settings: DenseSettings, source: Listing, target: Listing | None) -> Pair:
    """Assembles a pair whose metric is the mean intersection over union.

    Args:
        name: The pair's name.
        settings: Its settings.
        source: Synthetic images and masks; the validation images are split off from them.
        target: Real images and masks, or None.

    Raises:
        ConfigError: If something cannot work; all files are looked at.
    """
    require_same_classes(source, target)
    source = verified(source, settings.on_error)
    target = None if target is None else verified(target, settings.on_error)
    prepared = prepare_dense(settings.network, settings.width)
    strata = np.zeros(len(source), np.int64)
    train, validation = hold_out(strata, source.groups, settings.n_validation, settings.seed, source.name)
    n_bytes = int(settings.cache_gb * 2**30)
    fixed = ImageSplit(source, None, Size(settings.resize, settings.size), cache_bytes=n_bytes)
    cropped = Size(settings.resize, 0 if settings.random_crop else settings.size)
    n_classes = len(source.classes)
    return Pair(
        name=name,
        train=replace(
            fixed,
            samples=source.take(train),
            size=cropped,
            augmentation=settings.augmentation(),
            name="training images",
        ),
        validation=replace(fixed, samples=source.take(validation), name="validation images"),
        target=None
        if target is None
        else replace(fixed, samples=target, size=Size(settings.target_resize), name=target.name),
        proxy_test=proxy_test_of(settings, prepared.n_proxy_classes),
        proxy=prepared.proxy,
        make_model=ModelMaker(prepared, n_classes, True),
        make_random_model=ModelMaker(prepared, n_classes, False),
        n_classes=n_classes,
        n_proxy_classes=prepared.n_proxy_classes,
        classes=source.classes,
        metric="miou",
        flip_average=settings.flip_average,
        sliding_window=settings.sliding_window,
    )
