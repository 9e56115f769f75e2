"""The embedded segmentation pair: a class for every pixel of rendered digits, and of scanned ones over photographs.

Images are ``(3, 32, 32)`` with two digits each, at random places. Class 0 is the background, class d + 1 the digit d;
the masks are the ink of the renderings and of the scans. Proxy and target are divided by writers as in ``glyphs.py``;
the proxy tells background and digit mod 5.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from l2o_env.errors import require_integers, unknown_name
from l2o_env.models.base import Optimizee
from l2o_env.models.small_seg import SmallSegNet, SmallSegProxy
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.proxies.embedded import ProxyRecipe
from l2o_env.pairs.proxies.pretraining import ProxyTraining
from l2o_env.pairs.rendered.backgrounds import BACKGROUNDS, Half, backgrounds, lay_ink, upsample
from l2o_env.pairs.rendered.streams import Purpose, stream, torch_seed
from l2o_env.pairs.rendered.uci_digits import N_CLASSES as N_DIGITS
from l2o_env.pairs.rendered.uci_digits import Digits, divide_by_writer, uci_halves
from l2o_env.pairs.spec import from_keywords
from l2o_env.pairs.splits import Split, as_split

SIDE = 32
N_CLASSES = N_DIGITS + 1
N_PROXY_CLASSES = 6
INK = 0.35
"""A pixel with more ink than this belongs to the digit."""
FORMAT = 1
"""Part of the key of the proxy's cache; to be raised whenever data, network or training change."""


@dataclass(frozen=True)
class GlyphsSegConfig:
    """Settings of the pair.

    Attributes:
        n_train: Synthetic training images.
        n_validation: Synthetic validation images, of other fonts.
        n_target: Real target images.
        n_proxy_train: Real images that the proxy is pretrained on.
        n_proxy_test: Real images that it is tested on, of other writers.
        background: Behind the synthetic digits: ``"flat"``, ``"gradient"``, ``"noise"`` or ``"photo"``.
        min_contrast: Least difference of ink and background of the synthetic images.
        seed: Determines all images and the proxy.
        proxy_epochs: Passes over those images when the proxy is pretrained.
    """

    n_train: int = 600
    n_validation: int = 150
    n_target: int = 300
    n_proxy_train: int = 3000
    n_proxy_test: int = 150
    background: str = "flat"
    min_contrast: float = 0.25
    seed: int = 0
    proxy_epochs: int = 10

    def __post_init__(self) -> None:
        """Raises ``ConfigError`` if a value cannot work."""
        counts = ("n_train", "n_validation", "n_target", "n_proxy_train", "n_proxy_test")
        require_integers(self, *counts, "proxy_epochs")
        if self.background not in BACKGROUNDS:
            raise unknown_name("background", self.background, BACKGROUNDS)


settings_of = partial(from_keywords, GlyphsSegConfig)
"""Name of the pair and keywords to its settings; raises ``ConfigError`` if one is unknown or cannot work."""


def build(name: str, config: GlyphsSegConfig) -> Pair:
    """Builds the pair."""
    first, second = uci_halves()
    pretraining, held_out = divide_by_writer(first)
    proxy = _proxy_recipe(config, pretraining).proxy()
    return Pair(
        name=name,
        train=_synthetic(config, validation=False),
        validation=_synthetic(config, validation=True),
        target=_real(config, second, config.n_target, "right", "target"),
        proxy_test=_real(config, held_out, config.n_proxy_test, "left", "proxy_test", coarse=True),
        proxy=proxy,
        make_model=partial(_make_model, proxy, True),
        make_random_model=partial(_make_model, proxy, False),
        n_classes=N_CLASSES,
        n_proxy_classes=N_PROXY_CLASSES,
        classes=("background", *map(str, range(N_DIGITS))),
        metric="miou",
    )


def _make_model(proxy: SmallSegProxy, pretrained: bool, generator: torch.Generator) -> Optimizee:
    model = SmallSegNet(N_CLASSES, N_PROXY_CLASSES, generator)
    model.load_proxy(proxy, backbone=pretrained)
    return model


def _proxy_recipe(config: GlyphsSegConfig, digits: Digits) -> ProxyRecipe[SmallSegProxy]:
    training = ProxyTraining(epochs=config.proxy_epochs, batch_size=16)
    return ProxyRecipe(
        network=partial(SmallSegProxy, N_PROXY_CLASSES),
        data=partial(_real, config, digits, config.n_proxy_train, "left", "proxy_train", coarse=True),
        training=training,
        seed=torch_seed(_entropy(config), "proxy_weights"),
        key={"format": FORMAT, "seed": config.seed, "n": config.n_proxy_train, "training": asdict(training)},
        kind="proxy-seg",
    )


def _entropy(config: GlyphsSegConfig) -> tuple[int, int]:
    """Its own, beside that of the pairs with one digit of the same seed."""
    return config.seed, 1


def _synthetic(config: GlyphsSegConfig, validation: bool) -> Split:
    """Training or validation images: fonts over the background."""
    from l2o_env.pairs.rendered.renderers import FONT_SETS, render

    n = config.n_validation if validation else config.n_train
    rng = np.random.default_rng(stream(_entropy(config), "validation" if validation else "train"))
    labels = rng.permutation(np.arange(2 * n, dtype=np.int64) % N_DIGITS)
    counts = render("font", labels, rng, FONT_SETS["text"][validation])
    ink, mask = scene(upsample((counts / 16.0).astype(np.float32)), labels, rng)
    behind = backgrounds(config.background, n, rng, side=SIDE)
    return _dense(as_split(lay_ink("paint", ink, behind, rng, config.min_contrast), np.zeros(n, np.int64)), mask)


def _real(
    config: GlyphsSegConfig, digits: Digits, n: int, half: Half, purpose: Purpose, *, coarse: bool = False
) -> Split:
    """Scanned digits over patches of the photographs, with the proxy's classes if ``coarse``."""
    rng = np.random.default_rng(stream(_entropy(config), purpose))
    chosen = rng.permutation(np.arange(2 * n) % len(digits[1]))
    ink, mask = scene(digits[0][chosen], digits[1][chosen], rng)
    behind = backgrounds("photo", n, rng, half, side=SIDE)
    if coarse:
        mask = np.where(mask == 0, 0, 1 + (mask - 1) % 5)
    return _dense(as_split(lay_ink("difference", ink, behind, rng), np.zeros(n, np.int64)), mask)


def scene(
    glyphs: NDArray[np.float32], labels: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Puts two digits on each image, side by side or one above the other.

    Args:
        glyphs: Ink of the digits ``(2n, 16, 16)``, in [0, 1].
        labels: Which digits they are ``(2n,)``.
        rng: Draws their places.

    Returns:
        Ink and classes of the pixels, ``(n, 32, 32)`` each.
    """
    n, side = len(glyphs) // 2, glyphs.shape[1]
    ink, mask = np.zeros((n, SIDE, SIDE), np.float32), np.zeros((n, SIDE, SIDE), np.int64)
    shift, below = rng.integers(SIDE - side + 1, size=(n, 2)), rng.random(n) < 0.5
    for i in range(n):
        for k in range(2):
            place = (k * side, shift[i, k]) if below[i] else (shift[i, k], k * side)
            here = (i, slice(place[0], place[0] + side), slice(place[1], place[1] + side))
            ink[here] = glyphs[2 * i + k]
            mask[here] = np.where(glyphs[2 * i + k] > INK, labels[2 * i + k] + 1, 0)
    return ink, mask


def _dense(split: Split, mask: NDArray[np.int64]) -> Split:
    return Split(split.images, torch.from_numpy(mask))
