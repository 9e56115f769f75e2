"""Pairs of image files: what they have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from l2o_env.errors import ConfigError
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.adapted.prepare import Prepared, prepare
from l2o_env.models.base import Optimizee
from l2o_env.pairs.from_files.settings import ImageSettings
from l2o_env.pairs.images.held_out import hold_out
from l2o_env.pairs.images.image_split import ImageSplit, Size
from l2o_env.pairs.images.labelled import Labelled, in_order
from l2o_env.pairs.images.listing import Listing, OnError, existing_folder
from l2o_env.pairs.images.verify import verified
from l2o_env.pairs.pair import MetricName, Pair
from l2o_env.pairs.proxies.pretraining import ProxyTraining

_log = logging.getLogger("l2o_env")


def build_pair(
    name: str,
    settings: ImageSettings,
    source: Labelled,
    target: Labelled | None,
    *,
    metric: MetricName = "accuracy",
    flip_average: bool = False,
) -> Pair:
    """Assembles a pair with one class per image.

    Args:
        name: The pair's name.
        settings: Its settings.
        source: Labelled synthetic images; the validation images are split off from them.
        target: Labelled real images of the same classes, in any order of them; or None.
        metric: The pair's metric.
        flip_average: Whether predictions on the target are averaged with those of the mirror image.

    Raises:
        ConfigError: If something cannot work; all files are looked at.
    """
    classes = source.classes
    require_same_classes(source, target)
    source = _verified(source, settings.on_error)
    target = None if target is None else in_order(_verified(target, settings.on_error), classes)
    require_every_class(source)
    if target is not None:
        warn_of_empty_classes(target)
    prepared = prepare(_with_weights(settings), settings.size)
    train, validation = hold_out(
        np.asarray(source.labels), source.groups, settings.n_validation, settings.seed, source.name
    )
    fixed = split_of(settings)
    return Pair(
        name=name,
        train=replace_split(settings, source.take(train), "training images"),
        validation=fixed(source.take(validation), "validation images"),
        target=None if target is None else fixed(target, target.name),
        proxy_test=proxy_test_of(settings, prepared.n_proxy_classes),
        proxy=prepared.proxy,
        make_model=ModelMaker(prepared, len(classes), True),
        make_random_model=ModelMaker(prepared, len(classes), False),
        n_classes=len(classes),
        n_proxy_classes=prepared.n_proxy_classes,
        classes=classes,
        metric=metric,
        flip_average=flip_average,
    )


def _verified(listing: Labelled, on_error: OnError) -> Labelled:
    return verified(listing, on_error) if isinstance(listing, Listing) else listing


def _with_weights(settings: ImageSettings) -> NetworkConfig:
    """The network's settings, with the weights of the proxy that is trained, if it is."""
    if settings.proxy_data is None:
        return settings.network
    listing = proxy_listing(settings.proxy_data, "proxy_data", settings.on_error)
    images = split_of(settings)(listing, listing.name)
    weights = train_proxy(settings, settings.network, images, len(listing.classes))
    return replace(settings.network, weights=weights)


def proxy_listing(folder: str | Path, setting: str, on_error: OnError, *, dense: bool = False) -> Listing:
    """Real images with the proxy's labels, all of which were looked at.

    Args:
        folder: A folder with one folder per class, or of images and masks if they are `dense`.
        setting: The setting that names it, for messages.
        on_error: What files that cannot be used do.
        dense: Whether every pixel has a class.

    Raises:
        ConfigError: If there is no such folder, it is of the other kind, or its files cannot be used.
    """
    from l2o_env.pairs.images.folder_listings import is_dense, list_classes, list_masks

    path, name = existing_folder(folder, setting), f"images of {setting}"
    if dense and not is_dense(path):
        raise ConfigError(
            f"{setting}: {path} has no folders images and masks; expected them and classes.txt, because this proxy has "
            "a class for every pixel."
        )
    if is_dense(path) and not dense:
        raise ConfigError(
            f"{setting}: {path} has folders images and masks; expected one folder for each of the proxy's classes, "
            "because this proxy has one class for an image."
        )
    return verified((list_masks if dense else list_classes)(path, name), on_error)


def train_proxy(
    settings: ImageSettings, network: NetworkConfig, images: ImageSplit, n_classes: int
) -> Mapping[str, Tensor]:
    """Weights of a proxy that is trained on real images of `n_classes`, or that was before."""
    from l2o_env.pairs.proxies.any_network import trained_weights

    training = ProxyTraining(settings.proxy_epochs, learning_rate=settings.proxy_learning_rate)
    return trained_weights(network, images, n_classes, training, settings.seed)


@dataclass(frozen=True, eq=False)
class ModelMaker:
    """Makes optimizees of a prepared network; it can be sent to other processes."""

    prepared: Prepared
    n_classes: int
    pretrained: bool

    def __call__(self, generator: torch.Generator) -> Optimizee:
        """A new optimizee; see ``Pair``."""
        make = self.prepared.make_model if self.pretrained else self.prepared.make_random_model
        return make(self.n_classes, generator)


def split_of(settings: ImageSettings) -> Callable[[Labelled, str], ImageSplit]:
    """What makes a split without augmentation of a listing and its name."""
    size = Size(settings.resize or settings.size, settings.size)

    def make(listing: Labelled, name: str) -> ImageSplit:
        labels = torch.as_tensor(np.asarray(listing.labels))
        return ImageSplit(listing, labels, size, cache_bytes=settings.cache_bytes, name=name)

    return make


def replace_split(settings: ImageSettings, listing: Labelled, name: str) -> ImageSplit:
    """The training split: like the others, with the settings' augmentation."""
    split = split_of(settings)(listing, name)
    size = Size(settings.resize or settings.size, 0 if settings.random_crop else settings.size)
    return replace(split, size=size, augmentation=settings.augmentation())


def require_same_classes(source: Labelled, target: Labelled | None) -> None:
    """Raises ``ConfigError`` that lists the classes that only one of the two has."""
    if target is None or set(source.classes) == set(target.classes):
        return
    only_source = sorted(set(source.classes) - set(target.classes))
    only_target = sorted(set(target.classes) - set(source.classes))
    raise ConfigError(
        f"The classes of the {source.name} and of the {target.name} differ: only the first have "
        f"{only_source or 'none'}, only the second have {only_target or 'none'}. Classes are matched by name; rename "
        "or remove some."
    )


def _empty_classes(listing: Labelled) -> list[str]:
    counts = np.bincount(np.asarray(listing.labels), minlength=len(listing.classes))
    return [name for name, count in zip(listing.classes, counts, strict=True) if count == 0]


def warn_of_empty_classes(listing: Labelled) -> None:
    """Logs a warning that lists the classes without an image, if there are any."""
    empty = _empty_classes(listing)
    if empty:
        _log.warning(
            "These classes of the %s have no images: %s. Accuracies on them are over the other %d classes.",
            listing.name, empty, len(listing.classes) - len(empty),
        )  # fmt: skip


def require_every_class(listing: Labelled) -> None:
    """Raises ``ConfigError`` that lists the classes without an image."""
    empty = _empty_classes(listing)
    if empty:
        raise ConfigError(
            f"These classes of the {listing.name} have no images: {empty}. Add some or remove the classes."
        )


def proxy_test_of(settings: ImageSettings, n_classes: int) -> ImageSplit | None:
    """The proxy's test images, if the settings have any; `n_classes` is the proxy's."""
    if settings.proxy_test is None:
        return None
    listing = proxy_listing(settings.proxy_test, "proxy_test", settings.on_error)
    require_proxy_classes(listing, n_classes)
    return split_of(settings)(listing, listing.name)


def require_proxy_classes(listing: Listing, n_classes: int) -> None:
    """Raises ``ConfigError`` unless the proxy's test images have as many classes as the proxy."""
    if len(listing.classes) != n_classes:
        raise ConfigError(
            f"proxy_test has {len(listing.classes)} classes, the proxy {n_classes}; expected each of the proxy's "
            "classes, in their order."
        )
