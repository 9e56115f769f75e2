"""Builds a segmentation network on the weights of the classification network below it, or one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from l2o_env.errors import ConfigError, unknown_name
from l2o_env.models.adapted.by_name import is_name, local_seed
from l2o_env.models.adapted.fcn8s import FCN8S, FCN8s, FCN8sClassifier, FCN8sProxy, from_vgg
from l2o_env.models.adapted.feature_layers import feature_layer_of
from l2o_env.models.adapted.folded_norms import fold_norms
from l2o_env.models.adapted.groups import Groups, choose_groups
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.adapted.prepare import Prepared, prepare
from l2o_env.models.adapted.segmentation import DenseProxy, SegmentationNet
from l2o_env.models.adapted.weights import load_weights, weights_of
from l2o_env.models.base import Optimizee

_HEADS = ("fc.", "classifier.")


def prepare_dense(config: NetworkConfig, width: float = 1.0, side: int = 0) -> Prepared:
    """Builds a segmentation network on a classification network's weights, or one's own.

    Args:
        config: ``backbone`` is ``"fcn8s"`` (on VGG-16), the name of a torchvision segmentation network, or one's own
            network. ``weights`` are those of the classification network below it, with its head; or one's own.
        width: Channels of FCN-8s, as a share of VGG-16's.
        side: Side of images, in pixels, that one's own network must take; 0: any.

    Raises:
        ConfigError: If there is no such network, or weights or settings do not fit.
    """
    below = classifier_below(config, width)
    if below is None:
        return prepare(config, side, dense=True)
    if config.backbone == FCN8S:
        return _prepare_fcn8s(config, width)
    name = str(config.backbone)
    weights, source = weights_of(config, below)
    trunk, head = _divide(weights)
    n_proxy_classes = _n_classes(head, source)
    proxy = DenseProxy(*_build(name, below, n_proxy_classes)).requires_grad_(False).eval()
    load_weights(proxy.backbone, trunk, f"{source} for the backbone {below}")
    load_weights(proxy.head, head, f"{source} for the head of {below}")
    feature_layer = feature_layer_of(proxy.backbone, config.feature_layer)
    if config.batchnorm == "frozen":
        fold_norms(proxy.backbone, feature_layer)
    adapt = partial(
        SegmentationNet,
        groups=choose_groups(proxy.backbone, config.groups),
        batchnorm=config.batchnorm,
        feature_layer=config.feature_layer,
    )
    make = partial(_make, name, adapt, proxy)
    return Prepared(proxy, n_proxy_classes, partial(make, True), partial(make, False))


def classifier_below(config: NetworkConfig, width: float = 1.0) -> str | None:
    """Name of the classification network that is the proxy below a segmentation network; None below one's own.

    Raises:
        ConfigError: If there is no such network, or it has not these settings.
    """
    from torchvision import models

    name = str(config.backbone) if is_name(config.backbone) else None
    names = [*models.list_models(module=models.segmentation), FCN8S]
    if name is not None and name not in names:
        raise unknown_name("segmentation network", name, names)
    if width != 1.0 and name != FCN8S:
        raise ConfigError(f"width is {width!r}, which is for the backbone {FCN8S!r} alone; leave it out.")
    if name is not None and config.head:
        raise ConfigError(
            f"head is {config.head!r}, but the proxy's head of {name} is that of the classification network below it; "
            "leave it out."
        )
    return None if name is None else "vgg16" if name == FCN8S else name.split("_", 1)[1]


def proxy_classifier(config: NetworkConfig, n_classes: int, width: float = 1.0) -> NetworkConfig:
    """The proxy below a segmentation network as a classification network, to be trained.

    Args:
        config: The segmentation network, one with a name.
        n_classes: Classes of the proxy.
        width: Channels of FCN-8s, as a share of VGG-16's.
    """
    below = classifier_below(config, width)
    assert below is not None
    return NetworkConfig(partial(FCN8sClassifier, n_classes, width) if config.backbone == FCN8S else below)


def _divide(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights of a classification network, as its trunk and its head are called in a segmentation network."""
    trunk, head = {}, {}
    for name, tensor in weights.items():
        prefix = next((p for p in _HEADS if name.startswith(p)), None)
        if prefix is not None:
            head[name.removeprefix(prefix)] = tensor
        else:
            trunk[name.removeprefix("features.")] = tensor
    return trunk, head


def _n_classes(head: Mapping[str, Tensor], source: str) -> int:
    biases = [tensor for name, tensor in head.items() if name.endswith("bias")]
    if not biases:
        raise ConfigError(f"The weights {source} have no head; expected those of a whole classification network.")
    return len(biases[-1])


def _network(name: str, n_classes: int) -> Any:
    from torchvision import models

    others = {} if name.startswith("lraspp") else {"aux_loss": None}
    return models.get_model(name, weights=None, weights_backbone=None, num_classes=n_classes, **others)


def _build(name: str, below: str, n_proxy_classes: int) -> tuple[nn.Module, nn.Module]:
    """Backbone of a segmentation network, and the head of the classification network below it; both as drawn."""
    from torchvision import models

    with local_seed(0):
        backbone = _network(name, 2).backbone
        classification: Any = models.get_model(below, weights=None, num_classes=n_proxy_classes)
    return backbone, classification.fc if hasattr(classification, "fc") else classification.classifier


def _make(
    name: str,
    adapt: Callable[..., SegmentationNet],
    proxy: DenseProxy,
    pretrained: bool,
    n_classes: int,
    generator: torch.Generator,
) -> Optimizee:
    with torch.device("meta"):  # so that only what is needed is drawn
        network = _network(name, n_classes)
    with local_seed(int(torch.randint(2**62, (), generator=generator))):
        backbone = deepcopy(proxy.backbone) if pretrained else _network(name, n_classes).backbone
        classifier = network.classifier.to_empty(device="cpu")
        for layer in classifier.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    # A drawn backbone has no statistics of the proxy's to keep; see ``prepare``.
    changes: dict[str, Any] = {} if pretrained else {"batchnorm": "trained"}
    return adapt(backbone, classifier, deepcopy(proxy.head), **changes).eval()


def _prepare_fcn8s(config: NetworkConfig, width: float) -> Prepared:
    weights, source = weights_of(config, "vgg16")
    converted = from_vgg(weights)
    n_proxy_classes = _n_classes({n: t for n, t in converted.items() if n.startswith("proxy_head.")}, source)
    with local_seed(0):
        proxy = FCN8sProxy(n_proxy_classes, width)
    load_weights(proxy, converted, source)
    proxy = proxy.requires_grad_(False).eval()
    headless = deepcopy(proxy)
    headless.proxy_head = nn.Identity()  # type: ignore[assignment]
    groups = choose_groups(headless, config.groups)
    feature_layer = feature_layer_of(proxy, config.feature_layer)
    make: Callable[..., Optimizee] = partial(_make_fcn8s, proxy, width, groups, feature_layer)
    return Prepared(proxy, n_proxy_classes, partial(make, True), partial(make, False))


def _make_fcn8s(
    proxy: FCN8sProxy,
    width: float,
    groups: Groups,
    feature_layer: str,
    pretrained: bool,
    n_classes: int,
    generator: torch.Generator,
) -> Optimizee:
    with local_seed(int(torch.randint(2**62, (), generator=generator))):
        model = FCN8s(proxy, n_classes, width, groups, pretrained=pretrained)
    model.feature_layer = feature_layer
    return model.eval()
