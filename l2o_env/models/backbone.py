"""Any classification network as an optimizee: its backbone, its own head frozen, and a new head."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from l2o_env.errors import ConfigError, unknown_name
from l2o_env.models.base import Optimizee
from l2o_env.models.groups import Groups, find_groups, named_groups
from l2o_env.models.small import initialise
from l2o_env.models.weights import default_weights, load_weights, read_weights

BatchNormMode = Literal["frozen", "trained"]
_FEATURE_LAYERS = {
    "ResNet": "layer4",
    "VGG": "features",
    "ConvNeXt": "features",
    "EfficientNet": "features",
    "MobileNetV2": "features",
    "MobileNetV3": "features",
    "VisionTransformer": "encoder",
}
HIDDEN = 512
"""Width of the new head (Chen et al., 2020): features -> 512 -> ReLU -> classes."""


@dataclass(frozen=True)
class NetworkConfig:
    """Which network, and how it is used.

    Attributes:
        backbone: Name of a torchvision classification network; ``"FILE.py:NAME"`` or ``"module:NAME"`` of a class or
            function that makes an ``nn.Module``; or that function itself.
        weights: ``"DEFAULT"`` (torchvision's), or a file: safetensors, or a PyTorch file of tensors alone; or the
            tensors themselves, by name.
        head: Name of the linear layer that is the proxy's head; empty: the last one.
        groups: Layer groups by name, as parameter names or prefixes of them; or a function of the network that
            returns that, or such a function's ``"FILE.py:NAME"``; None: found by themselves.
        batchnorm: ``"frozen"``: the proxy's statistics stay, as in the paper; ``"trained"``: they go on.

    Raises:
        ConfigError: If a value cannot work.
    """

    backbone: str | Callable[[], nn.Module] = "resnet18"
    weights: str | Path | Mapping[str, Tensor] = "DEFAULT"
    head: str = ""
    groups: str | Mapping[str, Sequence[str]] | Callable[[nn.Module], Mapping[str, Sequence[str]]] | None = None
    batchnorm: BatchNormMode = "frozen"

    def __post_init__(self) -> None:
        if self.batchnorm not in get_args(BatchNormMode):
            raise unknown_name("batchnorm", self.batchnorm, get_args(BatchNormMode))


class Backbone(Optimizee):
    """A classification network whose last linear layer became the frozen proxy head, with a new head beside it.

    Args:
        network: The network with its weights; it is taken over, not copied.
        head: Name of its last linear layer.
        n_classes: Classes of the task.
        generator: Draws the new head.
        groups: Layer groups of the network without its head.
        batchnorm: Whether batch statistics are frozen or trained.
    """

    def __init__(
        self,
        network: nn.Module,
        head: str,
        n_classes: int,
        generator: torch.Generator,
        groups: Mapping[str, Sequence[str]],
        batchnorm: BatchNormMode = "frozen",
    ) -> None:
        super().__init__()
        self.network = network
        self.proxy_head = _linear(network, head)
        self._groups = groups
        layer = _FEATURE_LAYERS.get(type(network).__name__)
        self.feature_layer = None if layer is None else f"network.{layer}"
        self.trains_batch_statistics = batchnorm == "trained" and bool(_batch_norms(network))
        network.set_submodule(head, nn.Identity())
        features = self.proxy_head.in_features
        with local_seed(0):
            self.head = nn.Sequential(nn.Linear(features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, n_classes))
        initialise(self.head, generator)
        self.requires_grad_(True)
        self.proxy_head.requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(batch, n_classes)`` and ``(batch, n_proxy_classes)``."""
        features = self.network(images)
        return self.head(features), self.proxy_head(features)

    def layer_groups(self) -> Groups:
        """The network's groups, and the new ``head``."""
        groups = {group: [f"network.{name}" for name in names] for group, names in self._groups.items()}
        return {**groups, "head": [f"head.{name}" for name, _ in self.head.named_parameters()]}

    def train_batch_statistics(self, training: bool) -> None:
        """Lets running statistics follow the coming batches, if they are to be trained."""
        if self.trains_batch_statistics:
            for part in _batch_norms(self.network):
                part.train(training)


@dataclass(frozen=True)
class Prepared:
    """A proxy and what makes optimizees of it.

    Attributes:
        proxy: The frozen network, images to logits.
        n_proxy_classes: Its classes.
        make_model: Number of classes and generator to an optimizee with the proxy's backbone.
        make_random_model: The same with a backbone drawn from the generator too.
    """

    proxy: nn.Module
    n_proxy_classes: int
    make_model: Callable[[int, torch.Generator], Optimizee]
    make_random_model: Callable[[int, torch.Generator], Optimizee]


def prepare(config: NetworkConfig) -> Prepared:
    """Builds a network, loads its weights, and finds its head and its layer groups.

    Raises:
        ConfigError: If there is no such network, it has no head, its weights do not fit, or groups are incomplete.
    """
    build = builder(config.backbone)
    network = build()
    head = find_head(network, config.head)
    network = _weighted(config, build, network, head)
    proxy = network.requires_grad_(False).eval()
    groups = _groups_of(config, proxy, head)
    return Prepared(
        proxy=proxy,
        n_proxy_classes=_linear(proxy, head).out_features,
        make_model=partial(_make, config, head, groups, proxy, None),
        make_random_model=partial(_make, config, head, groups, proxy, build),
    )


def builder(backbone: str | Callable[[], nn.Module]) -> Callable[..., nn.Module]:
    """What makes the network, with the global random numbers left as they were.

    Raises:
        ConfigError: If there is no network of that name.
    """
    if not isinstance(backbone, str):
        return partial(_seeded, backbone)
    if ":" in backbone:
        return partial(_seeded, load_object(backbone))
    from torchvision import models

    names = models.list_models(module=models)
    if backbone not in names:
        raise unknown_name("network", backbone, names)
    return partial(_seeded, partial(models.get_model, backbone, weights=None))


def _seeded(build: Callable[..., Any], seed: int = 0, **kwargs: Any) -> nn.Module:
    with local_seed(seed):
        network = build(**kwargs)
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{build} made a {type(network).__name__}; expected a torch.nn.Module.")
    for name in ("aux1", "aux2", "AuxLogits"):  # GoogLeNet and Inception: heads for their first training only
        if getattr(network, name, None) is not None:
            setattr(network, name, None)
            setattr(network, "aux_logits", False)  # noqa: B010
    return network


@contextmanager
def local_seed(seed: int) -> Iterator[None]:
    """Constructors of layers draw from the global CPU generator: gives them a seed, and its state back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield


def load_object(path: str) -> Any:
    """The object of ``"FILE.py:NAME"`` or ``"module:NAME"``. This runs the file: give only what you trust.

    Raises:
        ConfigError: If there is no such file, module or name.
    """
    source, _, name = path.rpartition(":")
    try:
        if source.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(source).stem, source)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules.setdefault(Path(source).stem, module)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(source)
    except (ImportError, OSError) as error:
        raise ConfigError(f"{path!r} cannot be loaded ({error}); expected FILE.py:NAME or module:NAME.") from error
    if not hasattr(module, name):
        raise unknown_name(f"name in {source}:", name, [key for key in vars(module) if not key.startswith("_")])
    return getattr(module, name)


def find_head(network: nn.Module, name: str = "") -> str:
    """Name of the linear layer that the proxy's classes come out of.

    Args:
        network: The whole network.
        name: The layer, if it is known; empty: the last linear layer.

    Raises:
        ConfigError: If there is none.
    """
    linear = [key for key, part in network.named_modules() if type(part) is nn.Linear]
    if name and name not in linear:
        raise unknown_name(f"linear layer of {type(network).__name__}:", name, linear)
    if not linear:
        raise ConfigError(
            f"{type(network).__name__} has no head: expected a network from images to the proxy's classes that ends "
            "with a torch.nn.Linear."
        )
    return name or linear[-1]


def _linear(network: nn.Module, name: str) -> nn.Linear:
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    return layer


def _weighted(config: NetworkConfig, build: Callable[..., nn.Module], network: nn.Module, head: str) -> nn.Module:
    weights: Mapping[str, Tensor]
    if isinstance(config.weights, Mapping):
        weights, source = config.weights, "the proxy that was trained"
    elif str(config.weights) == "DEFAULT":
        if not isinstance(config.backbone, str) or ":" in config.backbone:
            raise ConfigError(
                "weights is 'DEFAULT', which is for networks of torchvision; give your network's as weights=FILE."
            )
        weights, source = default_weights(config.backbone), f"torchvision for {config.backbone}"
    else:
        weights, source = read_weights(config.weights), str(config.weights)
    found = weights.get(f"{head}.weight")
    of_torchvision = isinstance(config.backbone, str) and ":" not in config.backbone
    if of_torchvision and found is not None and len(found) != _linear(network, head).out_features:
        network = build(num_classes=len(found))  # a proxy with another number of classes than ImageNet
    weights = {name: w for name, w in weights.items() if not name.startswith(("aux1.", "aux2.", "AuxLogits."))}
    load_weights(network, weights, source)
    return network


def _groups_of(config: NetworkConfig, proxy: nn.Module, head: str) -> Groups:
    bare = deepcopy(proxy)
    bare.set_submodule(head, nn.Identity())
    groups = load_object(config.groups) if isinstance(config.groups, str) else config.groups
    if groups is None:
        return find_groups(bare)
    return named_groups(bare, groups(bare) if callable(groups) else groups)


def _make(
    config: NetworkConfig,
    head: str,
    groups: Groups,
    proxy: nn.Module,
    build: Callable[..., nn.Module] | None,
    n_classes: int,
    generator: torch.Generator,
) -> Optimizee:
    """An optimizee of the proxy's network, or of one that `build` draws anew."""
    network = deepcopy(proxy) if build is None else _redrawn(build, proxy, head, generator)
    return Backbone(network, head, n_classes, generator, groups, config.batchnorm)


def _redrawn(build: Callable[..., nn.Module], proxy: nn.Module, head: str, generator: torch.Generator) -> nn.Module:
    """The proxy's network as its constructor draws it, with the proxy's head."""
    seed = int(torch.randint(2**62, (), generator=generator))
    old = _linear(proxy, head)
    network = build(seed)
    network.set_submodule(head, deepcopy(old))
    return network


def _batch_norms(network: nn.Module) -> list[nn.Module]:
    return [part for part in network.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
