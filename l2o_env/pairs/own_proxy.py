"""Pretrains a proxy of any network on a folder of real images, or takes it from the cache."""

from __future__ import annotations

from dataclasses import asdict
from hashlib import sha256

from l2o_env.errors import ConfigError
from l2o_env.models.backbone import NetworkConfig, builder, find_head, local_seed
from l2o_env.models.base import new_generator
from l2o_env.pairs.base import Split, images_of
from l2o_env.pairs.cache import Tensors, cached
from l2o_env.pairs.images import ImageSplit
from l2o_env.pairs.proxy import ProxyTraining, fit

FORMAT = 1
"""Part of the key of the cache; to be raised whenever the training changes."""


def trained_weights(
    network: NetworkConfig, images: ImageSplit, n_classes: int, training: ProxyTraining, seed: int
) -> Tensors:
    """The weights of a proxy that was trained on real images; its batch statistics are trained too.

    Args:
        network: Which network.
        images: Real images, all of which are held in memory while it trains.
        n_classes: Their classes.
        training: How to train.
        seed: Determines weights and batches.

    Raises:
        ConfigError: If the network has another number of classes.
    """
    named = isinstance(network.backbone, str) and ":" not in network.backbone
    build = builder(network.backbone)
    proxy = build(seed, num_classes=n_classes) if named else build(seed)
    head = proxy.get_submodule(find_head(proxy, network.head))
    if head.out_features != n_classes:
        raise ConfigError(
            f"{type(proxy).__name__} has {head.out_features} classes, and proxy_data {n_classes}; make its last layer "
            "fit."
        )
    name = network.backbone if isinstance(network.backbone, str) else getattr(network.backbone, "__qualname__", "")
    settings = {"format": FORMAT, "seed": seed, "training": asdict(training), "network": f"{name}\n{proxy}"}
    settings["images"] = sha256(images.fingerprint().encode()).hexdigest()

    def train() -> Tensors:
        assert images.labels is not None
        data = Split(images_of(images, range(len(images))), images.labels)
        with local_seed(seed):  # for dropout, which draws from the global generator
            fit(proxy.train(), data, new_generator(seed), training)
        return {name: tensor.detach().clone() for name, tensor in proxy.state_dict().items()}

    template = {name: tensor.detach() for name, tensor in proxy.state_dict().items()}
    return cached("proxy-own", settings, template, train)
