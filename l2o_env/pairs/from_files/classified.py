"""Pairs of images with one class each: how they are put together."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.adapted.prepare import prepare
from l2o_env.pairs.from_files.class_checks import require_every_class, require_same_classes, warn_of_empty_classes
from l2o_env.pairs.from_files.class_splits import plain_split, training_split
from l2o_env.pairs.from_files.proxy_images import proxy_listing, proxy_test_of, train_proxy
from l2o_env.pairs.from_files.settings import ImageSettings
from l2o_env.pairs.images.held_out import hold_out
from l2o_env.pairs.images.labelled import Labelled, in_order
from l2o_env.pairs.images.listing import Listing, OnError
from l2o_env.pairs.images.verify import verified
from l2o_env.pairs.pair import MetricName, Pair


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
    settings.warn_of_normalisation()
    classes = source.classes
    require_same_classes(source, target)
    source = _verified(source, settings.on_error)
    target = None if target is None else in_order(_verified(target, settings.on_error), classes)
    require_every_class(source)
    if target is not None:
        warn_of_empty_classes(target)
    prepared = prepare(network_of(settings), settings.size)
    train, validation = hold_out(
        np.asarray(source.labels), source.groups, settings.n_validation, settings.seed, source.name
    )
    return Pair(
        name=name,
        train=training_split(settings, source.take(train)),
        validation=plain_split(settings, source.take(validation), "validation images"),
        target=None if target is None else plain_split(settings, target, target.name),
        proxy_test=proxy_test_of(settings, prepared.n_proxy_classes),
        proxy=prepared.proxy,
        make_model=partial(prepared.make_model, len(classes)),
        make_random_model=partial(prepared.make_random_model, len(classes)),
        n_classes=len(classes),
        n_proxy_classes=prepared.n_proxy_classes,
        classes=classes,
        metric=metric,
        flip_average=flip_average,
    )


def _verified(listing: Labelled, on_error: OnError) -> Labelled:
    return verified(listing, on_error) if isinstance(listing, Listing) else listing


def network_of(settings: ImageSettings) -> NetworkConfig:
    """The network's settings, with the weights of the proxy that is trained, if it is."""
    if settings.proxy_data is None:
        return settings.network
    listing = proxy_listing(settings.proxy_data, "proxy_data", settings.on_error)
    images = plain_split(settings, listing, listing.name)
    weights = train_proxy(settings, settings.network, images, len(listing.classes))
    return replace(settings.network, weights=weights)
