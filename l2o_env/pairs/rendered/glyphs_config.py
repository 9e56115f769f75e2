"""Settings of the embedded family of pairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from l2o_env.errors import ConfigError, require_integers, unknown_name
from l2o_env.models.small import NetworkName
from l2o_env.pairs.proxies.pretraining import ProxyTraining
from l2o_env.pairs.rendered.backgrounds import BACKGROUNDS, STYLES
from l2o_env.pairs.rendered.uci_digits import N_CLASSES

# Every background has colours that differ by 0.5 from it; nearer to that, drawing one takes ever longer.
MAX_CONTRAST = 0.4

PROXY_LABELS: dict[str, tuple[int, ...]] = {
    "mod5": (0, 1, 2, 3, 4, 0, 1, 2, 3, 4),
    "mod3": (0, 1, 2, 0, 1, 2, 0, 1, 2, 0),
    "parity": (0, 1, 0, 1, 0, 1, 0, 1, 0, 1),
    "neighbours": (0, 0, 1, 1, 2, 2, 3, 3, 4, 4),
    "halves": (0, 0, 0, 0, 0, 1, 1, 1, 1, 1),
}
"""Named label sets of the proxy: the proxy's class of each digit."""


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
        label_noise: Share of the training images whose label is drawn anew, of all ten, 0 to 1. Validation, target and
            proxy keep theirs.
        network: ``"small"`` (five layer groups), ``"deep"`` (seven), ``"deeper"`` (eleven), ``"narrow"`` or ``"wide"``
            (half and twice the channels), ``"unnormalised"`` (without GroupNorm).
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
    label_noise: float = 0.0
    network: NetworkName = "small"
    proxy: ProxyTraining = field(default_factory=ProxyTraining)

    def __post_init__(self) -> None:
        """Raises ``ConfigError`` if a name is not known or a value is outside its range."""
        from l2o_env.pairs.rendered.renderers import RENDERERS

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
        require_integers(self, "n_train_per_class", "n_validation_per_class")
        require_integers(self, "seed", least=0)
        if not 0.0 <= self.min_contrast <= MAX_CONTRAST:
            raise ConfigError(f"min_contrast is {self.min_contrast!r}; it must be between 0 and {MAX_CONTRAST}.")
        if not 0.0 <= self.label_noise <= 1.0:
            raise ConfigError(f"label_noise is {self.label_noise!r}; expected a share from 0 to 1.")
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

    def fonts(self, validation: bool) -> tuple[str, ...]:
        """Names of the fonts to train on, or of those to validate on."""
        from l2o_env.pairs.rendered.renderers import FONT_SETS, font_path

        fonts = self.validation_fonts if validation else self.train_fonts
        if isinstance(fonts, str):
            if fonts not in FONT_SETS:
                raise unknown_name("set of fonts", fonts, FONT_SETS)
            return FONT_SETS[fonts][validation]
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
        shared = set(self.fonts(validation=False)) & set(self.fonts(validation=True))
        if shared:
            raise ConfigError(
                f"train_fonts and validation_fonts share {sorted(shared)}; validation needs fonts that training "
                "never sees: remove them from one side."
            )
