"""The embedded pair family: rendered digits to handwritten digits over photographs.

Nothing is downloaded: the real images ship with scikit-learn (UCI handwritten digits, two photographs), the fonts
with matplotlib. All members have images of ``(3, 16, 16)``, ten classes and one network, so that a population may
mix them; only the number of proxy classes differs (and, for transfer to another number of
layer groups, the network of ``network="deep"``). Images are float32, ``(x - 0.5) / 0.5`` of RGB in [0, 1].

The UCI file is ordered by writer: the proxy is pretrained on its first half over patches of the left halves of the
photographs, the last writers of that half are kept for ``proxy_test``, and the target is the second half over
patches of the right halves.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from l2o_env.models.base import Optimizee
from l2o_env.models.small import SmallNet, SmallProxy
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.proxies.embedded import small_recipe
from l2o_env.pairs.rendered.backgrounds import Half, Images, backgrounds, lay_ink, upsample
from l2o_env.pairs.rendered.glyphs_config import GlyphsConfig
from l2o_env.pairs.rendered.streams import Purpose, stream, torch_seed
from l2o_env.pairs.rendered.uci_digits import N_CLASSES, PROXY_TEST_DIGITS, Digits, divide_by_writer, uci_halves
from l2o_env.pairs.splits import Split, as_split

INK = 0.25
"""Where there is more ink than this, the mask of a real image says that the digit is."""
PROXY_BLENDS, PROXY_TEST_BLENDS = 6, 2


def build(name: str, config: GlyphsConfig) -> Pair:
    """Builds a member of the family.

    Args:
        name: The pair's name.
        config: Its settings.

    Returns:
        The pair: 1200 training, 600 validation and 899 target images by default, 300 to test the proxy.
    """
    pair = assemble(name, config, *synthetic_splits(config), uci_target(config))
    return replace(pair, shifted=partial(shifted_split, config))


def assemble(name: str, config: GlyphsConfig, train: Split, validation: Split, target: Split | None) -> Pair:
    """Puts the family's proxy and network to images.

    Args:
        name: The pair's name.
        config: Says what proxy and network are.
        train: Training images ``(n, 3, 16, 16)`` of ten classes, like all.
        validation: Validation images.
        target: Target images, or None.
    """
    classes = np.array(config.proxy_classes())
    n_proxy_classes = int(classes.max()) + 1
    pretraining, held_out = divide_by_writer(uci_halves()[0])
    recipe = small_recipe(
        n_proxy_classes,
        data=partial(_real_split, config, pretraining, PROXY_BLENDS, "left", "proxy_train", classes),
        data_settings=_proxy_data_settings(config, classes),
        seed=torch_seed(config.seed, "proxy_weights"),
        training=config.proxy,
        network=config.network,
    )
    proxy = recipe.proxy()
    return Pair(
        name=name,
        train=train,
        validation=validation,
        target=target,
        proxy_test=_real_split(config, held_out, PROXY_TEST_BLENDS, "left", "proxy_test", classes),
        proxy=proxy,
        make_model=partial(_make_model, proxy, n_proxy_classes, True),
        make_random_model=partial(_make_model, proxy, n_proxy_classes, False),
        n_classes=N_CLASSES,
        n_proxy_classes=n_proxy_classes,
        importance=recipe.importance,
    )


def synthetic_splits(config: GlyphsConfig) -> tuple[Split, Split]:
    """Rendered training and validation images."""
    return _synthetic_split(config, validation=False), _synthetic_split(config, validation=True)


def shifted_split(config: GlyphsConfig) -> Split:
    """As many images as validation has, of a renderer that training never sees, on backgrounds like real ones.

    Pen strokes (on a pair that trains on strokes, serif fonts), half of them over noise, half over those halves of the
    photographs that the proxy knows.
    """
    rng = np.random.default_rng(stream(config.seed, "shifted"))
    labels = np.repeat(np.arange(N_CLASSES, dtype=np.int64), config.n_validation_per_class)
    renderer = "font" if config.renderer == "stroke" else "stroke"
    ink = _ink(renderer, labels, rng, GlyphsConfig(validation_fonts="serif").fonts(validation=True))
    noise, photo = backgrounds("noise", len(ink), rng), backgrounds("photo", len(ink), rng, "left")
    behind = np.where((np.arange(len(ink)) % 2 == 0)[:, None, None, None], photo, noise)
    return as_split(lay_ink("paint", ink, behind, rng, config.min_contrast), labels)


def uci_target(config: GlyphsConfig) -> Split:
    """UCI's digits by the writers of the second half, over the right halves of the photographs."""
    return _real_split(config, uci_halves()[1], 1, "right", "target", np.arange(N_CLASSES))


def _make_model(proxy: SmallProxy, n_proxy_classes: int, pretrained: bool, generator: torch.Generator) -> Optimizee:
    model = SmallNet(N_CLASSES, n_proxy_classes, generator, proxy.network)
    model.load_proxy(proxy, backbone=pretrained)
    return model


def _synthetic_split(config: GlyphsConfig, validation: bool) -> Split:
    """Training or validation images, of other renderers."""
    rng = np.random.default_rng(stream(config.seed, "validation" if validation else "train"))
    renderer = config.validation_renderer if validation else config.renderer
    per_class = config.n_validation_per_class if validation else config.n_train_per_class
    labels = np.repeat(np.arange(N_CLASSES, dtype=np.int64), per_class)
    ink = _ink(renderer, labels, rng, config.fonts(validation) if renderer == "font" else ())
    behind = backgrounds(config.background, len(ink), rng)
    images = lay_ink("paint", ink, behind, rng, config.min_contrast)
    return as_split(images, labels if validation else _noisy(labels, config))


def _ink(renderer: str, labels: NDArray[np.int64], rng: np.random.Generator, fonts: tuple[str, ...]) -> Images:
    """Rendered digits, ``(n, 16, 16)``."""
    from l2o_env.pairs.rendered.renderers import render

    return upsample((render(renderer, labels, rng, fonts) / 16.0).astype(np.float32))


def _noisy(labels: NDArray[np.int64], config: GlyphsConfig) -> NDArray[np.int64]:
    """Labels, a share of them drawn anew; from a stream of their own, so that the images stay the same."""
    rng = np.random.default_rng(stream(config.seed, "label_noise"))
    return np.where(rng.random(len(labels)) < config.label_noise, rng.integers(N_CLASSES, size=len(labels)), labels)


def _real_split(
    config: GlyphsConfig, digits: Digits, blends: int, half: Half, purpose: Purpose, classes: NDArray[np.int64]
) -> Split:
    """Real digits on ``blends`` backgrounds each, with the labels ``classes[digit]``."""
    rng = np.random.default_rng(stream(config.seed, purpose))
    ink, labels = np.tile(digits[0], (blends, 1, 1)), np.tile(digits[1], blends)
    behind = backgrounds(config.target_background, len(ink), rng, half)
    split = as_split(lay_ink(config.target_style, ink, behind, rng, config.min_contrast), classes[labels])
    return replace(split, masks=torch.from_numpy(ink > INK))


def _proxy_data_settings(config: GlyphsConfig, classes: NDArray[np.int64]) -> dict[str, Any]:
    """All that the proxy's images depend on, and nothing else: members that share a proxy share its file."""
    settings: dict[str, Any] = {"min_contrast": config.min_contrast} if config.target_style == "paint" else {}
    return settings | {
        "seed": config.seed,
        "background": config.target_background,
        "style": config.target_style,
        "labels": classes.tolist(),
        "held_out": PROXY_TEST_DIGITS,
        "blends": PROXY_BLENDS,
    }
