"""What a pair is, and the registry of named pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from l2o_env.errors import unknown_name
from l2o_env.models.base import Optimizee


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images, in memory.

    Attributes:
        images: ``(n, channels, height, width)``, float32, as the network takes them.
        labels: ``(n,)``, int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Pair:
    """A (source, target) pair with its proxy: all that an inner training run needs.

    Attributes:
        name: The name it is registered under.
        train: Labelled synthetic images to train on.
        validation: Labelled synthetic images from renderers that training never sees; V is computed here.
        target: Labelled real images. Only evaluation (and the reward ``"target_oracle"``) reads them.
        proxy_test: Real images with the *proxy's* labels that its pretraining never saw; the accuracy of the
            optimizee's proxy head here is the "proxy accuracy kept".
        proxy: The frozen, real-image-pretrained network; maps images to logits ``(n, n_proxy_classes)``.
        make_model: Builds an optimizee: the proxy's backbone and frozen head, and a new head drawn from the given
            ``torch.Generator``.
        make_random_model: The same with a backbone drawn from the generator too (opponent "random-init").
        n_classes: Classes of the task.
        n_proxy_classes: Classes of the proxy.
        importance: What the guidance ``si`` holds the proxy's weights by: Ω by parameter name, from the proxy's own
            training; None where only weights exist (then it is estimated from gradients).
    """

    name: str
    train: Split
    validation: Split
    target: Split | None
    proxy_test: Split
    proxy: nn.Module
    make_model: Callable[[torch.Generator], Optimizee]
    make_random_model: Callable[[torch.Generator], Optimizee]
    n_classes: int
    n_proxy_classes: int
    importance: Callable[[], dict[str, Tensor]] | None = None


Factory = Callable[..., Pair]
FamilySplit = Literal["train", "test"]
_registry: dict[str, tuple[Factory, FamilySplit | None]] = {}


def register(name: str, factory: Factory, *, split: FamilySplit | None = None) -> None:
    """Registers a pair under a name.

    Args:
        name: The name, as ``make`` and ``gym.make(..., pairs=name)`` take it.
        factory: Called with the keywords of :func:`make`; returns the pair.
        split: ``"train"`` if policies may be trained on it by default, ``"test"`` if it is held out for
            transfer, ``None`` if it belongs to neither list.

    Raises:
        ValueError: If the name is taken.
    """
    if name in _registry:
        raise ValueError(f"A pair named {name!r} is registered already; choose another name.")
    _registry[name] = (factory, split)
    _make_default.cache_clear()


def names(split: FamilySplit | None = None) -> tuple[str, ...]:
    """Names of the registered pairs, in the order of registration; of one split only if given."""
    return tuple(name for name, (_, member_of) in _registry.items() if split is None or member_of == split)


def make(name: str, **kwargs: Any) -> Pair:
    """Builds a pair by name; without keywords the pair is built once per process and shared.

    Raises:
        ConfigError: If no pair of that name is registered; the message names the closest.
    """
    if name not in _registry:
        raise unknown_name("pair", name, _registry)
    return _registry[name][0](**kwargs) if kwargs else _make_default(name)


@cache
def _make_default(name: str) -> Pair:
    return _registry[name][0]()
