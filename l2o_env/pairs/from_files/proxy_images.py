"""Real images with the proxy's labels: to train it on, and to test it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from l2o_env.errors import ConfigError
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.pairs.from_files.class_splits import plain_split
from l2o_env.pairs.from_files.proxy_classes import has_order, in_proxy_order, ordered_classes, proxy_classes
from l2o_env.pairs.from_files.settings import ImageSettings
from l2o_env.pairs.images.folder_listings import is_dense, list_masks
from l2o_env.pairs.images.image_split import ImageSplit
from l2o_env.pairs.images.listing import Listing, OnError, existing_folder
from l2o_env.pairs.images.verify import verified
from l2o_env.pairs.proxies.any_network import trained_weights
from l2o_env.pairs.proxies.pretraining import ProxyTraining


def proxy_listing(
    folder: str | Path, setting: str, on_error: OnError, *, dense: bool = False, order: Sequence[str] | None = None
) -> Listing:
    """Real images with the proxy's labels, all of which were looked at.

    Args:
        folder: A folder with one folder per class, or of images and masks if they are `dense`.
        setting: The setting that names it, for messages.
        on_error: What files that cannot be used do.
        dense: Whether every pixel has a class.
        order: Names of the classes of masks in the order of their indices; None: that of ``classes.txt``.

    Raises:
        ConfigError: If there is no such folder, it is of the other kind, or its files cannot be used.
    """
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
    return verified(list_masks(path, name, order) if dense else ordered_classes(path, name), on_error)


def train_proxy(
    settings: ImageSettings, network: NetworkConfig, images: ImageSplit, n_classes: int
) -> Mapping[str, Tensor]:
    """Weights of a proxy that is trained on real images of `n_classes`, or that was before."""
    training = ProxyTraining(settings.proxy_epochs, learning_rate=settings.proxy_learning_rate)
    return trained_weights(network, images, n_classes, training, settings.seed)


def proxy_test_of(settings: ImageSettings, n_classes: int) -> ImageSplit | None:
    """The proxy's test images, if the settings have any; `n_classes` is the proxy's.

    Raises:
        ConfigError: As :func:`proxy_test_listing` does.
    """
    if settings.proxy_test is None:
        return None
    listing = proxy_test_listing(settings, n_classes)
    return plain_split(settings, listing, listing.name)


def proxy_test_listing(settings: ImageSettings, n_classes: int, *, dense: bool = False) -> Listing:
    """The images of the setting `proxy_test`, with their classes numbered as the proxy's `n_classes`.

    Raises:
        ConfigError: If they cannot be used, or have other classes.
    """
    assert settings.proxy_test is not None
    known = proxy_classes(settings, n_classes)
    listing = proxy_listing(settings.proxy_test, "proxy_test", settings.on_error, dense=dense, order=known)
    if len(listing.classes) != n_classes:
        raise ConfigError(
            f"proxy_test has {len(listing.classes)} classes, the proxy {n_classes}; expected each of the proxy's."
        )
    if not dense and has_order(settings.proxy_test):
        return listing
    return in_proxy_order(listing, known, published=str(settings.weights) == "DEFAULT")
