"""Pretrains the proxy of an embedded pair on real images, or takes it from the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from l2o_env.models.base import new_generator
from l2o_env.models.importance import PathIntegral
from l2o_env.models.small import NetworkName, SmallProxy
from l2o_env.pairs.cache import Tensors, cached
from l2o_env.pairs.proxies.pretraining import ProxyTraining, fit
from l2o_env.pairs.splits import Split

FORMAT = 2
"""Part of the key of the cache: raised whenever data, network or training change, so that no old proxy is taken."""
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class ProxyRecipe(Generic[Network]):
    """How a proxy is made: its network, the images that it is pretrained on, and the training.

    Attributes:
        network: Draws the network from a generator.
        data: Makes the images, with the proxy's labels; called only if they are needed.
        training: How to pretrain.
        seed: Determines weights and batches.
        key: All that the proxy depends on, as JSON values: the key of the cache.
        kind: First part of the name of its file in the cache.
    """

    network: Callable[[torch.Generator], Network]
    data: Callable[[], Split]
    training: ProxyTraining
    seed: int
    key: Mapping[str, Any]
    kind: str = "proxy"

    def proxy(self) -> Network:
        """The proxy, from the cache if it is there: in evaluation mode, and without gradients."""
        network = self.network(new_generator(self.seed))
        network.load_state_dict(cached(self.kind, self.key, network.state_dict(), self.pretrain))
        return network.requires_grad_(False).eval()

    def importance(self) -> Tensors:
        """Ω of synaptic intelligence from the training of this very proxy, by parameter name.

        It is kept beside the proxy; where it is not there yet, the training is run once more.
        """
        named = self.network(new_generator(self.seed)).named_parameters()
        template = {name: p.detach() for name, p in named}
        return cached("importance", self.key, template, lambda: self._train(track=True)[1].importance())

    def pretrain(self) -> Tensors:
        """Trains the proxy on the CPU, on one thread, so that its weights are the same bits in every process.

        Returns:
            The state of the network, by name.
        """
        network, _ = self._train()
        return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    def _train(self, track: bool = False) -> tuple[Network, PathIntegral]:
        generator = new_generator(self.seed)  # first of the weights, and then of the order of the images
        network = self.network(generator)
        return network, fit(network, self.data(), generator, self.training, track)


def small_recipe(
    n_classes: int,
    data: Callable[[], Split],
    data_settings: Mapping[str, Any],
    seed: int,
    training: ProxyTraining,
    network: NetworkName = "small",
) -> ProxyRecipe[SmallProxy]:
    """The recipe of a :class:`SmallProxy`.

    Args:
        n_classes: Classes of the proxy.
        data: Makes the images to pretrain on.
        data_settings: All that determines them, as JSON values.
        seed: Determines weights and batches.
        training: How to pretrain.
        network: Which network it is.
    """
    key = {
        "format": FORMAT,
        "seed": seed,
        "n_proxy_classes": n_classes,
        "network": network,
        "training": asdict(training),
        "data": data_settings,
    }
    return ProxyRecipe(partial(SmallProxy, n_classes, network=network), data, training, seed, key)
