"""Pretrains the proxy of a glyph pair on real digits, or takes it from the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from l2o_env.models.base import new_generator
from l2o_env.models.importance import PathIntegral
from l2o_env.models.small import NetworkName, SmallProxy
from l2o_env.pairs.cache import Tensors, cached
from l2o_env.pairs.proxies.pretraining import ProxyTraining, fit
from l2o_env.pairs.splits import Split

# Part of the key of the cache. Raise it whenever data, network or training change, or old proxies are taken for new.
FORMAT = 2


def get_proxy(
    data: Callable[[], Split],
    n_proxy_classes: int,
    seed: int,
    training: ProxyTraining,
    data_settings: dict[str, Any],
    network: NetworkName = "small",
) -> SmallProxy:
    """The frozen proxy, from the cache if it is there.

    Args:
        data: Makes the images to pretrain on; called only if they are needed.
        n_proxy_classes: Classes of the proxy.
        seed: Determines weights and batches.
        training: How to pretrain.
        data_settings: All that determines ``data``; part of the key of the cache.
        network: Which network it is.

    Returns:
        A network in evaluation mode that needs no gradient.
    """
    proxy = SmallProxy(n_proxy_classes, new_generator(seed), network)
    settings = _settings(n_proxy_classes, seed, training, data_settings, network)
    proxy.load_state_dict(
        cached(
            "proxy", settings, proxy.state_dict(), lambda: pretrain(data(), n_proxy_classes, seed, training, network)
        )
    )
    return proxy.requires_grad_(False).eval()


def get_importance(
    data: Callable[[], Split],
    n_proxy_classes: int,
    seed: int,
    training: ProxyTraining,
    data_settings: dict[str, Any],
    network: NetworkName = "small",
) -> Tensors:
    """Ω of synaptic intelligence from the training of the very proxy that :func:`get_proxy` gives, by parameter name.

    It is kept beside the proxy; where it is not there yet, the proxy's training is run once more. Arguments as there.
    """
    template = dict(SmallProxy(n_proxy_classes, new_generator(seed), network).named_parameters())
    settings = _settings(n_proxy_classes, seed, training, data_settings, network)

    def build() -> Tensors:
        return _train(data(), n_proxy_classes, seed, training, network, track=True)[1].importance()

    return cached("importance", settings, {name: p.detach() for name, p in template.items()}, build)


def _settings(
    n_proxy_classes: int, seed: int, training: ProxyTraining, data_settings: dict[str, Any], network: NetworkName
) -> dict[str, Any]:
    """All that a proxy depends on."""
    settings: dict[str, Any] = {"format": FORMAT, "seed": seed, "n_proxy_classes": n_proxy_classes, "network": network}
    return settings | {"training": asdict(training), "data": data_settings}


def pretrain(
    data: Split, n_proxy_classes: int, seed: int, training: ProxyTraining, network: NetworkName = "small"
) -> Tensors:
    """Trains a proxy on the CPU, on one thread, so that its weights are the same bits in every process.

    Args:
        data: Images and labels of the proxy.
        n_proxy_classes: Classes of the proxy.
        seed: Determines weights and batches.
        training: How to train.
        network: Which network it is.

    Returns:
        The state of a :class:`SmallProxy`.
    """
    proxy, _ = _train(data, n_proxy_classes, seed, training, network)
    return {name: tensor.detach().clone() for name, tensor in proxy.state_dict().items()}


def _train(
    data: Split, n_proxy_classes: int, seed: int, training: ProxyTraining, network: NetworkName, track: bool = False
) -> tuple[SmallProxy, PathIntegral]:
    generator = new_generator(seed)
    proxy = SmallProxy(n_proxy_classes, generator, network)
    return proxy, fit(proxy, data, generator, training, track)
