"""Rendered traffic signs to photographs of them: GTSRB (Stallkamp et al., 2012), 43 classes, 32x32 pixels.

The proxy is pretrained on GTSRB's training photographs, of which it learns the kind of sign alone: prohibition,
warning, command, other. The target is GTSRB's test set.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from l2o_env.errors import ConfigError, require_integers
from l2o_env.models.base import Optimizee
from l2o_env.models.small import SmallNet, SmallProxy
from l2o_env.pairs.images.datasets import Part, read_signs, require_counts
from l2o_env.pairs.images.held_out import draw, hold_out
from l2o_env.pairs.images.listing import Listing
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.proxies.embedded import small_recipe
from l2o_env.pairs.proxies.pretraining import ProxyTraining
from l2o_env.pairs.rendered.backgrounds import backgrounds
from l2o_env.pairs.rendered.signs import KINDS, SIDE, SIGNS, render_signs
from l2o_env.pairs.spec import from_keywords
from l2o_env.pairs.splits import Split, as_split

N_CLASSES, N_KINDS = len(SIGNS), max(KINDS) + 1


@dataclass(frozen=True)
class SignsConfig:
    """Settings of ``signs-gtsrb``.

    Attributes:
        root: Folder that torchvision keeps GTSRB in; None: ``datasets`` in the cache folder.
        download: Whether it is downloaded if it is not there.
        n_train_per_class: Rendered training images of each sign.
        n_validation_per_class: Rendered validation images of each sign, with another font, stroke and background.
        n_target: Target photographs, drawn by the seed; 0: all.
        n_proxy_train: Photographs that the proxy is pretrained on; drawn by the seed.
        n_proxy_test: Photographs of other physical signs that it is tested on; drawn likewise.
        proxy_epochs: Passes over them.
        seed: Determines all of it.
    """

    root: str | Path | None = None
    download: bool = False
    n_train_per_class: int = 60
    n_validation_per_class: int = 15
    n_target: int = 2000
    n_proxy_train: int = 4000
    n_proxy_test: int = 500
    proxy_epochs: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ``ConfigError`` if a value cannot work."""
        counts = ("n_train_per_class", "n_validation_per_class", "n_proxy_train", "n_proxy_test")
        require_integers(self, *counts, "proxy_epochs")
        require_counts(self, "n_target")


class SignNet(SmallNet):
    """The embedded pairs' network on larger images, for which it has no kernels of its own."""

    def batched_kernels(self, n_proxy_classes: int) -> None:
        """None."""
        return None


settings_of = partial(from_keywords, SignsConfig)
"""Name of the pair and keywords to its settings; raises ``ConfigError`` if one is unknown or cannot work."""


def build(name: str, config: SignsConfig) -> Pair:
    """Builds the pair.

    Raises:
        ConfigError: If GTSRB is not there, or has too few images.
    """
    training, test = _open(config, "train"), _open(config, "test")
    pretraining, held_out = divide_photographs(training, config)
    chosen = np.random.default_rng([config.seed, 1]).permutation(len(test))[: config.n_target or None]
    recipe = small_recipe(
        N_KINDS,
        data=partial(_photographs, config, "train", pretraining, KINDS),
        data_settings={"gtsrb": len(training), "indices": pretraining.tolist()},
        seed=config.seed,
        training=ProxyTraining(epochs=config.proxy_epochs),
    )
    proxy = recipe.proxy()
    return Pair(
        name=name,
        train=_rendered(config, validation=False),
        validation=_rendered(config, validation=True),
        target=_photographs(config, "test", chosen, tuple(range(N_CLASSES))),
        proxy_test=_photographs(config, "train", held_out, KINDS),
        proxy=proxy,
        make_model=partial(_make_model, proxy, True),
        make_random_model=partial(_make_model, proxy, False),
        n_classes=N_CLASSES,
        n_proxy_classes=N_KINDS,
        importance=recipe.importance,
    )


def divide_photographs(training: Listing, config: SignsConfig) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divides GTSRB's training photographs for the proxy.

    Args:
        training: All of them.
        config: Says how many, and has the seed.

    Returns:
        Indices of those to pretrain it on, and of those to test it on, which show other physical signs.

    Raises:
        ConfigError: If there are too few.
    """
    labels = np.asarray(training.labels)
    if config.n_proxy_test > len(training) - len(np.unique(labels)):
        raise ConfigError(
            f"GTSRB has {len(training)} training images here, and n_proxy_test is {config.n_proxy_test}; expected "
            "fewer, so that one of each sign is left."
        )
    rest, others = hold_out(labels, training.groups, config.n_proxy_test, config.seed, training.name)
    chosen = draw(labels[rest], config.n_proxy_train, config.seed)
    return rest[chosen], others[draw(labels[others], config.n_proxy_test, config.seed)]


def _make_model(proxy: SmallProxy, pretrained: bool, generator: torch.Generator) -> Optimizee:
    model = SignNet(N_CLASSES, N_KINDS, generator)
    model.load_proxy(proxy, backbone=pretrained)
    return model


def _open(config: SignsConfig, part: Part) -> Listing:
    return read_signs(part, config.root, config.download, f"{part} images of GTSRB")


def _photographs(config: SignsConfig, part: Part, indices: NDArray[np.int64], classes: tuple[int, ...]) -> Split:
    """Photographs of these indices, with the labels ``classes[sign]``."""
    listing = _open(config, part)
    images, labels = np.empty((len(indices), SIDE, SIDE, 3), np.float32), np.empty(len(indices), np.int64)
    for k, i in enumerate(indices):
        image, label = listing[int(i)]
        images[k], labels[k] = np.asarray(image.resize((SIDE, SIDE)), np.float32) / 255, classes[label]
    return as_split(images, labels)


def _rendered(config: SignsConfig, validation: bool) -> Split:
    """Training or validation images; what they are drawn with differs."""
    rng = np.random.default_rng([config.seed, 2, int(validation)])
    per_class = config.n_validation_per_class if validation else config.n_train_per_class
    labels = np.repeat(np.arange(N_CLASSES, dtype=np.int64), per_class)
    behind = backgrounds("noise" if validation else "gradient", len(labels), rng, side=SIDE)
    font, stroke = ("STIXGeneralBol", 0.06) if validation else ("DejaVuSans-Bold", 0.08)
    return as_split(render_signs(labels, behind, rng, font, stroke), labels)
