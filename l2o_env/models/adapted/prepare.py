"""Builds a network with its weights, and what makes optimizees of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from l2o_env.errors import ConfigError
from l2o_env.models.adapted.backbone import Backbone, DenseBackbone, batch_norms
from l2o_env.models.adapted.by_name import auxiliary_heads, builder, is_name
from l2o_env.models.adapted.checks import alike, check_network
from l2o_env.models.adapted.feature_layers import feature_layer_of, find_feature_map
from l2o_env.models.adapted.folded_norms import fold_norms, unfold_norms
from l2o_env.models.adapted.groups import Groups, choose_groups
from l2o_env.models.adapted.heads import find_head, head_inputs, head_of, n_classes_of
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.adapted.weights import load_weights, named_as, weights_of
from l2o_env.models.base import Optimizee, new_generator

_log = logging.getLogger("l2o_env")


@dataclass(frozen=True)
class Prepared:
    """A proxy and what makes optimizees of it.

    Attributes:
        proxy: The frozen network, images to logits.
        n_proxy_classes: Its classes.
        make_model: Number of classes and generator to an optimizee with the proxy's backbone.
        make_random_model: The same with a backbone drawn from the generator too, whose batch statistics are trained.
    """

    proxy: nn.Module
    n_proxy_classes: int
    make_model: Callable[[int, torch.Generator], Optimizee]
    make_random_model: Callable[[int, torch.Generator], Optimizee]


def prepare(config: NetworkConfig, side: int = 0, *, dense: bool = False) -> Prepared:
    """Builds a network, loads its weights, and finds its head and its layer groups.

    Args:
        config: The network.
        side: Side of images, in pixels, of which it makes a forward pass to tell whether it can; 0: it makes none.
        dense: Whether it is a segmentation network.

    Raises:
        ConfigError: If there is no such network, it has no head, its weights do not fit, groups are incomplete, or
            the forward pass fails.
    """
    build = builder(config.backbone)
    network = build()
    frozen = frozen_parameters(network)
    head = find_head(network, config.head, dense=dense)
    proxy = _with_weights(config, build, network, head).requires_grad_(False).eval()
    if side:
        check_network(proxy, head, side, dense=dense)
    feature_layer = feature_layer_of(proxy, config.feature_layer)
    if side and not feature_layer and not dense:
        feature_layer = find_feature_map(proxy, head, side)
    if config.batchnorm == "frozen":
        fold_norms(proxy, head, feature_layer)
        if side and batch_norms(proxy):
            _unfold_unless_same(proxy, head, side)
    headless = deepcopy(proxy)
    headless.set_submodule(head, nn.Identity())
    adapt = partial(
        DenseBackbone if dense else Backbone,
        head=head,
        groups=without(choose_groups(headless, config.groups), frozen, type(network).__name__),
        batchnorm=config.batchnorm,
        feature_layer=feature_layer,
    )
    return Prepared(
        proxy=proxy,
        n_proxy_classes=n_classes_of(head_of(proxy, head)),
        make_model=partial(_make, adapt, proxy),
        make_random_model=partial(_make_random, adapt, proxy, build, head),
    )


def _unfold_unless_same(network: nn.Module, head: str, side: int) -> None:
    """Takes folding back if it changes what goes into the head: layers run in another order than they stand."""
    features = []
    for each in (network, unfold_norms(deepcopy(network))):
        with torch.no_grad(), head_inputs(head_of(each, head)) as found:
            each(torch.randn(1, 3, side, side, generator=new_generator(0)))
        features += found
    if not alike(*features):
        unfold_norms(network)


def frozen_parameters(network: nn.Module) -> frozenset[str]:
    """Names of parameters that a network's author has frozen, such as fixed position codes; they stay as they are."""
    found = frozenset(name for name, parameter in network.named_parameters() if not parameter.requires_grad)
    if found:
        _log.info("%d parameters of %s are frozen by its author, and stay so.", len(found), type(network).__name__)
    return found


def without(groups: Groups, frozen: frozenset[str], network: str) -> Groups:
    """Layer groups without parameters that are frozen, and without groups of nothing else.

    Raises:
        ConfigError: If nothing is left.
    """
    left = {group: [name for name in names if name not in frozen] for group, names in groups.items()}
    left = {group: names for group, names in left.items() if names}
    if not left:
        raise ConfigError(
            f"All parameters of {network} but its head are frozen (requires_grad=False): nothing to train."
        )
    return left


def _with_weights(config: NetworkConfig, build: Callable[..., nn.Module], network: nn.Module, head: str) -> nn.Module:
    """The network with its weights, made again where those are of another number of classes than ImageNet's."""
    weights, source = weights_of(config, str(config.backbone) if is_name(config.backbone) else None)
    headless = deepcopy(network)
    headless.set_submodule(head, nn.Identity())
    weights = named_as(weights, headless)
    of_head = weights.get(f"{head}.weight")
    if is_name(config.backbone) and of_head is not None and len(of_head) != n_classes_of(head_of(network, head)):
        network = build(num_classes=len(of_head))
    left_out = tuple(f"{name}." for name in auxiliary_heads(network))
    load_weights(network, {name: w for name, w in weights.items() if not name.startswith(left_out)}, source)
    return network


def _make(adapt: Callable[..., Backbone], proxy: nn.Module, n_classes: int, generator: torch.Generator) -> Optimizee:
    """An optimizee of the proxy's network."""
    return adapt(deepcopy(proxy), n_classes=n_classes, generator=generator).eval()


def _make_random(
    adapt: Callable[..., Backbone],
    proxy: nn.Module,
    build: Callable[..., nn.Module],
    head: str,
    n_classes: int,
    generator: torch.Generator,
) -> Optimizee:
    """An optimizee of the proxy's network as its constructor draws it, with the proxy's head.

    Its batch statistics are trained whatever the setting: there are none of the proxy's to keep, and with mean 0 and
    variance 1 the activations of a deep residual network double from block to block.
    """
    network = build(int(torch.randint(2**62, (), generator=generator)))
    network.set_submodule(head, deepcopy(head_of(proxy, head)))
    return adapt(network, n_classes=n_classes, generator=generator, batchnorm="trained").eval()
