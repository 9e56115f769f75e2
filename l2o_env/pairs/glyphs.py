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

from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from l2o_env.errors import ConfigError, unknown_name
from l2o_env.models.base import Optimizee
from l2o_env.models.small import NetworkName, SmallNet, SmallProxy
from l2o_env.pairs.base import Pair, Split
from l2o_env.pairs.proxy import ProxyTraining, get_importance, get_proxy

if TYPE_CHECKING:
    from l2o_env.pairs.backgrounds import Half

N_CLASSES = 10
PROXY_TEST_DIGITS = 150
INK = 0.25
"""Where there is more ink than this, the mask of a real image says that the digit is."""
# Every background has colours that differ by 0.5 from it; nearer to that, drawing one takes ever longer.
MAX_CONTRAST = 0.4
PROXY_BLENDS, PROXY_TEST_BLENDS = 6, 2

PROXY_LABELS: dict[str, tuple[int, ...]] = {
    "mod5": (0, 1, 2, 3, 4, 0, 1, 2, 3, 4),
    "mod3": (0, 1, 2, 0, 1, 2, 0, 1, 2, 0),
    "parity": (0, 1, 0, 1, 0, 1, 0, 1, 0, 1),
    "neighbours": (0, 0, 1, 1, 2, 2, 3, 3, 4, 4),
    "halves": (0, 0, 0, 0, 0, 1, 1, 1, 1, 1),
}
"""Named label sets of the proxy: the proxy's class of each digit."""

# One independent random stream per purpose; append only, since the position is the stream's key.
_STREAMS = ("train", "validation", "target", "proxy_train", "proxy_test", "proxy_weights")


@dataclass(frozen=True)
class GlyphsConfig:
    """What a member of the family is made of; the defaults are ``glyphs-digits``.

    Attributes:
        renderer: Draws the training digits: ``"font"``, ``"seven_segment"`` or ``"stroke"``.
        validation_renderer: Draws the validation digits; another than ``renderer``, or both ``"font"``.
        train_fonts: Fonts of ``renderer="font"``: a set (``"text"``, ``"sans"``, ``"serif"``, ``"mono"``) or names of
            font files of matplotlib.
        validation_fonts: Fonts of ``validation_renderer="font"``: a set, whose validation fonts are taken, or names;
            none of the training fonts.
        background: Behind the synthetic digits, which have one flat random colour: ``"flat"``, ``"gradient"``,
            ``"noise"`` or ``"photo"``.
        target_background: Behind the real digits, of target and proxy, likewise.
        target_style: How real digits are laid on it: ``"difference"`` (absolute difference, as in MNIST-M),
            ``"paint"`` (a flat random colour) or ``"inverted"`` (negative of ``"difference"``).
        proxy_labels: The proxy's class of each digit: ten integers counting from 0 without a gap, or a name
            (``"mod5"``, ``"mod3"``, ``"parity"``, ``"neighbours"``, ``"halves"``).
        min_contrast: Least difference of a flat ink colour and the mean of its background (mean over the channels,
            0 to 0.4; without it some synthetic digits cannot be seen at all).
        n_train_per_class: Synthetic training images of each digit, at least 1.
        n_validation_per_class: Synthetic validation images of each digit, at least 1.
        seed: Determines all images and the proxy, at least 0.
        network: ``"small"`` (five layer groups) or ``"deep"`` (seven).
        proxy: How the proxy is pretrained.
    """

    renderer: str = "font"
    validation_renderer: str = "font"
    train_fonts: str | tuple[str, ...] = "text"
    validation_fonts: str | tuple[str, ...] = "text"
    background: str = "flat"
    target_background: str = "photo"
    target_style: str = "difference"
    proxy_labels: str | tuple[int, ...] = "mod5"
    min_contrast: float = 0.25
    n_train_per_class: int = 120
    n_validation_per_class: int = 60
    seed: int = 0
    network: NetworkName = "small"
    proxy: ProxyTraining = field(default_factory=ProxyTraining)

    def __post_init__(self) -> None:
        """Raises ``ConfigError`` if a name is not known or a value is outside its range."""
        from l2o_env.pairs.backgrounds import BACKGROUNDS, STYLES
        from l2o_env.pairs.renderers import RENDERERS

        for name, known in (
            ("renderer", RENDERERS),
            ("validation_renderer", RENDERERS),
            ("background", BACKGROUNDS),
            ("target_background", BACKGROUNDS),
            ("target_style", STYLES),
            ("network", get_args(NetworkName)),
        ):
            if getattr(self, name) not in known:
                raise unknown_name(name, getattr(self, name), known)
        for name, least in (("n_train_per_class", 1), ("n_validation_per_class", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{name} is {value!r}; it must be a whole number of at least {least}.")
        if not 0.0 <= self.min_contrast <= MAX_CONTRAST:
            raise ConfigError(f"min_contrast is {self.min_contrast!r}; it must be between 0 and {MAX_CONTRAST}.")
        self.proxy_classes()
        self._check_validation()

    def proxy_classes(self) -> tuple[int, ...]:
        """The proxy's class of each digit, ten integers; raises ``ConfigError`` if they are not."""
        if isinstance(self.proxy_labels, str):
            if self.proxy_labels not in PROXY_LABELS:
                raise unknown_name("proxy_labels", self.proxy_labels, PROXY_LABELS)
            return PROXY_LABELS[self.proxy_labels]
        labels = tuple(self.proxy_labels)
        if len(labels) != N_CLASSES or set(labels) != set(range(len(set(labels)))) or len(set(labels)) < 2:
            raise ConfigError(
                f"proxy_labels is {self.proxy_labels!r}; it must be ten integers, the proxy's class of each digit, "
                "that count from 0 without a gap and are at least two different ones."
            )
        return labels

    def fonts(self, part: int) -> tuple[str, ...]:
        """Font names of the training part (0) or the validation part (1)."""
        from l2o_env.pairs.renderers import FONT_SETS, font_path

        fonts = (self.train_fonts, self.validation_fonts)[part]
        if isinstance(fonts, str):
            if fonts not in FONT_SETS:
                raise unknown_name("set of fonts", fonts, FONT_SETS)
            return FONT_SETS[fonts][part]
        if not fonts:
            raise ConfigError("An empty tuple of fonts came; name at least one, or a set of fonts.")
        for font in fonts:
            font_path(font)
        return tuple(fonts)

    def _check_validation(self) -> None:
        """V is only worth something on renderers that training never saw."""
        if self.renderer != self.validation_renderer:
            return
        if self.renderer != "font":
            raise ConfigError(
                f"renderer and validation_renderer are both {self.renderer!r}; validation needs a renderer that "
                "training never sees: choose another for one of them."
            )
        shared = set(self.fonts(0)) & set(self.fonts(1))
        if shared:
            raise ConfigError(
                f"train_fonts and validation_fonts share {sorted(shared)}; validation needs fonts that training "
                "never sees: remove them from one side."
            )


def build(name: str, config: GlyphsConfig) -> Pair:
    """Builds a member of the family.

    Args:
        name: The pair's name.
        config: Its settings.

    Returns:
        The pair: 1200 training, 600 validation and 899 target images by default, 300 to test the proxy.
    """
    return assemble(name, config, *synthetic_splits(config), uci_target(config))


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
    pretraining, held_out = _divide(_uci_halves()[0])
    proxy_training = (
        partial(_real_split, config, pretraining, PROXY_BLENDS, "left", "proxy_train", classes),
        n_proxy_classes,
        _torch_seed(config.seed, "proxy_weights"),
        config.proxy,
        _proxy_data_settings(config, classes),
        config.network,
    )
    proxy = get_proxy(*proxy_training)
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
        importance=partial(get_importance, *proxy_training),
    )


def synthetic_splits(config: GlyphsConfig) -> tuple[Split, Split]:
    """Rendered training and validation images."""
    return _synthetic_split(config, 0), _synthetic_split(config, 1)


def uci_target(config: GlyphsConfig) -> Split:
    """UCI's digits by the writers of the second half, over the right halves of the photographs."""
    return _real_split(config, _uci_halves()[1], 1, "right", "target", np.arange(N_CLASSES))


def _make_model(proxy: SmallProxy, n_proxy_classes: int, pretrained: bool, generator: torch.Generator) -> Optimizee:
    model = SmallNet(N_CLASSES, n_proxy_classes, generator, proxy.network)
    model.load_proxy(proxy, backbone=pretrained)
    return model


def _stream(seed: int, name: str) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(_STREAMS.index(name),))


def _torch_seed(seed: int, name: str) -> int:
    # 63 bits: what manual_seed takes without a sign.
    return int(_stream(seed, name).generate_state(1, np.uint64)[0] >> np.uint64(1))


Digits = tuple[NDArray[np.float32], NDArray[np.int64]]


@cache
def _uci_halves() -> tuple[Digits, Digits]:
    """Ink ``(n, 16, 16)`` in [0, 1] and labels ``(n,)`` of the first 898 and the last 899 UCI digits."""
    from sklearn.datasets import load_digits

    from l2o_env.pairs.backgrounds import upsample

    raw = load_digits()
    ink, labels = upsample((raw.images / 16.0).astype(np.float32)), raw.target.astype(np.int64)
    middle = len(labels) // 2
    return (ink[:middle], labels[:middle]), (ink[middle:], labels[middle:])


def _divide(first: Digits) -> tuple[Digits, Digits]:
    """The proxy's digits to pretrain on, and those of the last writers to test it on."""
    ink, labels = first
    return (ink[:-PROXY_TEST_DIGITS], labels[:-PROXY_TEST_DIGITS]), (
        ink[-PROXY_TEST_DIGITS:],
        labels[-PROXY_TEST_DIGITS:],
    )


def _synthetic_split(config: GlyphsConfig, part: int) -> Split:
    """Training (0) or validation (1) images."""
    from l2o_env.pairs.backgrounds import backgrounds, lay_ink, upsample
    from l2o_env.pairs.renderers import render

    rng = np.random.default_rng(_stream(config.seed, _STREAMS[part]))
    renderer = (config.renderer, config.validation_renderer)[part]
    per_class = (config.n_train_per_class, config.n_validation_per_class)[part]
    labels = np.repeat(np.arange(N_CLASSES, dtype=np.int64), per_class)
    counts = render(renderer, labels, rng, config.fonts(part) if renderer == "font" else ())
    ink = upsample((counts / 16.0).astype(np.float32))
    behind = backgrounds(config.background, len(ink), rng)
    return _as_split(lay_ink("paint", ink, behind, rng, config.min_contrast), labels)


def _real_split(
    config: GlyphsConfig, digits: Digits, blends: int, half: Half, stream: str, classes: NDArray[np.int64]
) -> Split:
    """Real digits on ``blends`` backgrounds each, with the labels ``classes[digit]``."""
    from l2o_env.pairs.backgrounds import backgrounds, lay_ink

    rng = np.random.default_rng(_stream(config.seed, stream))
    ink, labels = np.tile(digits[0], (blends, 1, 1)), np.tile(digits[1], blends)
    behind = backgrounds(config.target_background, len(ink), rng, half)
    split = _as_split(lay_ink(config.target_style, ink, behind, rng, config.min_contrast), classes[labels])
    return replace(split, masks=torch.from_numpy(ink > INK))


def _as_split(images: NDArray[np.float32], labels: NDArray[np.int64]) -> Split:
    normalised = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32))
    return Split((normalised - 0.5) / 0.5, torch.from_numpy(labels.astype(np.int64)))


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
