"""Pairs of images with a class for every pixel: how they are put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from l2o_env.models.adapted.checks import check_sizes
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.adapted.prepare_dense import classifier_below, prepare_dense, proxy_classifier
from l2o_env.pairs.from_files.class_checks import require_same_classes
from l2o_env.pairs.from_files.class_splits import plain_split
from l2o_env.pairs.from_files.proxy_images import (
    proxy_listing,
    proxy_test_listing,
    proxy_test_of,
    train_proxy,
)
from l2o_env.pairs.from_files.settings import DenseSettings
from l2o_env.pairs.images.folder_listings import is_dense
from l2o_env.pairs.images.held_out import hold_out
from l2o_env.pairs.images.image_split import ImageSplit, Size
from l2o_env.pairs.images.listing import Listing
from l2o_env.pairs.images.verify import verified
from l2o_env.pairs.pair import Pair

_ORIENTATION = 0x0112
"""EXIF's tag: from 5 on, images lie on their side."""


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
    settings.warn_of_normalisation()
    require_same_classes(source, target)
    source = verified(source, settings.on_error)
    target = None if target is None else verified(target, settings.on_error)
    prepared = prepare_dense(_with_weights(settings), settings.width, settings.size)
    strata = np.zeros(len(source), np.int64)  # an image has all classes
    train, validation = hold_out(strata, source.groups, settings.n_validation, settings.seed, source.name)
    plain = ImageSplit(
        source, None, Size(settings.resize, settings.size), mean=settings.mean, std=settings.std,
        cache_bytes=settings.cache_bytes,
    )  # fmt: skip
    uncut = replace(plain, size=Size(settings.resize, 0 if settings.random_crop else settings.size))
    n_classes = len(source.classes)
    target_split = None
    if target is not None:  # whole images, for the sliding window
        target_split = replace(plain, samples=target, size=Size(settings.target_resize), name=target.name)
        sizes = _sizes_seen(target.files, settings.target_resize, settings.sliding_window)
        check_sizes(prepared.proxy, sizes, _advice(sizes, settings.size))
    return Pair(
        name=name,
        train=replace(uncut, samples=source.take(train), augmentation=settings.augmentation(), name="training images"),
        validation=replace(plain, samples=source.take(validation), name="validation images"),
        target=target_split,
        proxy_test=_proxy_test_of(settings, prepared.n_proxy_classes),
        proxy=prepared.proxy,
        make_model=partial(prepared.make_model, n_classes),
        make_random_model=partial(prepared.make_random_model, n_classes),
        n_classes=n_classes,
        n_proxy_classes=prepared.n_proxy_classes,
        classes=source.classes,
        metric="miou",
        flip_average=settings.flip_average,
        sliding_window=settings.sliding_window,
    )


def _advice(sizes: Sequence[tuple[int, int]], side: int) -> str:
    """What gives predictions of squares of the side that the network is trained on."""
    small = min(map(min, sizes)) < side  # which windows do not enlarge
    return f"give sliding_window={side}, which it is trained on{f', and target_resize={side}' if small else ''}"


def _sizes_seen(files: Sequence[Path], resize: int, window: int) -> list[tuple[int, int]]:
    """Heights and widths that predictions on images are made of: whole images, or windows of them."""
    found = set()
    for file in files:
        with Image.open(file) as image:  # its header alone
            width, height = image.size
            if image.getexif().get(_ORIENTATION, 1) > 4:  # lying on its side
                width, height = height, width
        if resize:
            scale = resize / min(width, height)
            width, height = int(width * scale), int(height * scale)
        found.add((min(height, window), min(width, window)) if window else (height, width))
    return sorted(found)


def _with_weights(settings: DenseSettings) -> NetworkConfig:
    """The network's settings, with the weights of the proxy that is trained, if it is."""
    if settings.proxy_data is None:
        return settings.network
    dense = classifier_below(settings.network, settings.width) is None
    listing = proxy_listing(settings.proxy_data, "proxy_data", settings.on_error, dense=dense)
    n_classes = len(listing.classes)
    if dense:
        network, images = settings.network, _real_masks(settings, listing)
    else:
        network = proxy_classifier(settings.network, n_classes, settings.width)
        images = plain_split(settings, listing, listing.name)
    return replace(settings.network, weights=train_proxy(settings, network, images, n_classes))


def _real_masks(settings: DenseSettings, listing: Listing) -> ImageSplit:
    """Real images with the proxy's masks, cut from the centre in the scale of the target."""
    size = Size(settings.target_resize, settings.size)
    mean, std = settings.mean, settings.std
    return ImageSplit(listing, None, size, mean=mean, std=std, cache_bytes=settings.cache_bytes, name=listing.name)


def _proxy_test_of(settings: DenseSettings, n_classes: int) -> ImageSplit | None:
    if settings.proxy_test is None or not is_dense(settings.proxy_test):
        return proxy_test_of(settings, n_classes)
    return _real_masks(settings, proxy_test_listing(settings, n_classes, dense=True))
