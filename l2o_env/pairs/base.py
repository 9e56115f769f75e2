"""What a pair is, and the registry of named pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from l2o_env.dense import IGNORED as IGNORED
from l2o_env.errors import ConfigError, unknown_name
from l2o_env.models.base import Optimizee
from l2o_env.pairs.spec import LABEL, parse

if TYPE_CHECKING:
    from l2o_env.pairs.images import ImageSplit

MetricName = Literal["accuracy", "mean_class_accuracy", "miou"]


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images, in memory.

    Attributes:
        images: ``(n, channels, height, width)``, float32, as the network takes them.
        labels: ``(n,)``, int64; or ``(n, height, width)`` where every pixel has a class, ``IGNORED`` for none.
        masks: ``(n, height, width)``, bool; where the object is, for evaluation. None where that is not known.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None = None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Pair:
    """A (source, target) pair with its proxy: all that an inner training run needs.

    Attributes:
        name: The name it is registered under.
        train: Labelled synthetic images to train on: in memory, or decoded on demand (``ImageSplit``), like all.
        validation: Labelled synthetic images from renderers that training never sees; V is computed here.
        target: Labelled real images. Only evaluation (and the reward ``"target_oracle"``) reads them.
        proxy_test: Real images with the *proxy's* labels that its pretraining never saw; the accuracy of the
            optimizee's proxy head here is the "proxy accuracy kept". None where there are none.
        proxy: The frozen, real-image-pretrained network; maps images to logits ``(n, n_proxy_classes)``.
        make_model: Builds an optimizee: the proxy's backbone and frozen head, and a new head drawn from the given
            ``torch.Generator``.
        make_random_model: The same with a backbone drawn from the generator too (opponent "random-init").
        n_classes: Classes of the task.
        n_proxy_classes: Classes of the proxy.
        classes: Names of the task's classes, in the order of their indices; empty where numbers are their names.
        importance: What the guidance ``si`` holds the proxy's weights by: Ω by parameter name, from the proxy's own
            training; None where only weights exist (then it is estimated from gradients).
        metric: What "accuracy" is on the task's labels: the share that is right, its mean over the classes
            (``"mean_class_accuracy"``), or the mean intersection over union (``"miou"``).
        flip_average: Whether predictions on the target are averaged over the image and its mirror image.
        sliding_window: Side of the windows that target images are cut into, in pixels; 0: not at all.
    """

    name: str
    train: Split | ImageSplit
    validation: Split | ImageSplit
    target: Split | ImageSplit | None
    proxy_test: Split | ImageSplit | None
    proxy: nn.Module
    make_model: Callable[[torch.Generator], Optimizee]
    make_random_model: Callable[[torch.Generator], Optimizee]
    n_classes: int
    n_proxy_classes: int
    classes: tuple[str, ...] = ()
    importance: Callable[[], dict[str, Tensor]] | None = None
    metric: MetricName = "accuracy"
    flip_average: bool = False
    sliding_window: int = 0


def is_streamed(pair: Pair) -> bool:
    """Whether images of a pair are decoded on demand."""
    from l2o_env.pairs.images import ImageSplit

    splits = (pair.train, pair.validation, pair.target, pair.proxy_test)
    return any(isinstance(split, ImageSplit) for split in splits)


def in_memory(split: Split | ImageSplit | None) -> Split:
    """The split as one that is in memory.

    Raises:
        ConfigError: If there is none, or its images are decoded on demand.
    """
    if not isinstance(split, Split):
        raise ConfigError("This needs a pair whose images are in memory, such as 'glyphs-digits'.")
    return split


def images_of(split: Split | ImageSplit, indices: Sequence[int]) -> Tensor:
    """Images of a split as the network takes them, without augmentation, ``(n, 3, h, w)``, on the CPU."""
    return split.images[list(indices)] if isinstance(split, Split) else decoded(split, indices).images


def decoded(split: ImageSplit, indices: Sequence[int]) -> Split:
    """Images of one size, and their labels, as the network takes them: without augmentation, on the CPU."""
    samples = [split.read(i) for i in indices]
    images, labels = torch.stack([s.image for s in samples]), torch.stack([s.label for s in samples])
    return Split(*split.finish(images, labels, torch.float32))


Factory = Callable[..., Pair]
SettingsCheck = Callable[[Mapping[str, Any]], object]
FamilySplit = Literal["train", "test"]


class _Entry(NamedTuple):
    factory: Factory
    split: FamilySplit | None
    settings: SettingsCheck | None


_registry: dict[str, _Entry] = {}


def register(
    name: str, factory: Factory, *, split: FamilySplit | None = None, settings: SettingsCheck | None = None
) -> None:
    """Registers a pair under a name.

    Args:
        name: The name, as ``make`` and ``gym.make(..., pairs=name)`` take it.
        factory: Called with the keywords of :func:`make`; returns the pair.
        split: ``"train"`` if policies may be trained on it by default, ``"test"`` if it is held out for
            transfer, ``None`` if it belongs to neither list.
        settings: Called with the keywords wherever a pair is named, so that a wrong one is told before anything is
            built; raises ``ConfigError``. None: whatever is wrong is told when the pair is built.

    Raises:
        ValueError: If the name is taken.
    """
    if name in _registry:
        raise ValueError(f"A pair named {name!r} is registered already; choose another name.")
    _registry[name] = _Entry(factory, split, settings)
    _make_default.cache_clear()


def names(split: FamilySplit | None = None) -> tuple[str, ...]:
    """Names of the registered pairs, in the order of registration; of one split only if given."""
    return tuple(name for name, entry in _registry.items() if split is None or entry.split == split)


def check(text: str) -> None:
    """Raises ``ConfigError`` unless ``text`` is the name of a registered pair, with settings that it has or without."""
    entry, settings = _entry(text)
    if entry.settings is not None:
        entry.settings(settings)


def _entry(text: str) -> tuple[_Entry, dict[str, Any]]:
    """What is registered, and the settings of the text but for its label."""
    name, settings = parse(text)
    if name not in _registry:
        raise unknown_name("pair", name, _registry)
    return _registry[name], {key: value for key, value in settings.items() if key != LABEL}


def make(name: str, **kwargs: Any) -> Pair:
    """Builds a pair by name; without keywords the pair is built once per process and shared.

    Args:
        name: A registered name, or one with settings: ``"folders:source=renders,target=photos"`` (see ``spec``).
        **kwargs: Settings; they replace those of the name.

    Raises:
        ConfigError: If no pair of that name is registered; the message names the closest.
    """
    if not kwargs:
        return _make_default(name)
    entry, settings = _entry(name)
    return entry.factory(**{**settings, **{key: value for key, value in kwargs.items() if key != LABEL}})


@cache
def _make_default(text: str) -> Pair:
    entry, settings = _entry(text)
    return entry.factory(**settings)
