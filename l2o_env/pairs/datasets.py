"""Rendered digits to the real digits of torchvision's data sets: MNIST, USPS, SVHN and EMNIST.

Source, proxy and network are those of the embedded family: the proxy knows UCI's digits over photographs. Target images
are scaled to 16x16 and become RGB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from l2o_env.errors import ConfigError
from l2o_env.pairs.backgrounds import SIDE
from l2o_env.pairs.base import Pair, Split
from l2o_env.pairs.cache import cache_folder
from l2o_env.pairs.glyphs import GlyphsConfig, _as_split, make_glyphs


def _emnist(image: Any) -> Any:
    """EMNIST's images are stored with rows and columns exchanged."""
    from PIL import Image

    return image.transpose(Image.Transpose.TRANSPOSE)


_SETS: dict[str, tuple[str, dict[str, Any], Callable[[Any], Any] | None]] = {
    "glyphs-mnist": ("MNIST", {"train": False}, None),
    "glyphs-usps": ("USPS", {"train": False}, None),
    "glyphs-svhn": ("SVHN", {"split": "test"}, None),
    "glyphs-emnist": ("EMNIST", {"split": "digits", "train": False}, _emnist),
}
"""Class of torchvision, arguments of its test images, and what is done to each, by the name of the pair."""


def make_digits(
    name: str, *, root: str | Path | None = None, download: bool = False, n_target: int = 0, **glyphs: Any
) -> Pair:
    """Builds one of these pairs.

    Args:
        name: ``"glyphs-mnist"``, ``"glyphs-usps"``, ``"glyphs-svhn"`` or ``"glyphs-emnist"``.
        root: Folder that torchvision keeps the data set in; None: ``datasets`` in the cache folder.
        download: Whether it is downloaded if it is not there.
        n_target: Target images, drawn by the seed; 0: all.
        **glyphs: Fields of ``GlyphsConfig``.

    Raises:
        ConfigError: If the data set is not there, or a setting cannot work.
    """
    if isinstance(n_target, bool) or not isinstance(n_target, int) or n_target < 0:
        raise ConfigError(f"n_target is {n_target!r}; expected a number of images, or 0 for all.")
    folder = cache_folder() / "datasets" if root is None else Path(str(root)).expanduser()
    # The data set first, because the proxy may take a while.
    target = _target(name, folder, download, n_target, int(glyphs.get("seed", 0)))
    return replace(make_glyphs(name, GlyphsConfig(), **glyphs), target=target)


def _target(name: str, folder: Path, download: bool, n: int, seed: int) -> Split:
    from torchvision import datasets

    kind, arguments, change = _SETS[name]
    try:
        if download:
            folder.mkdir(parents=True, exist_ok=True)
        found = getattr(datasets, kind)(str(folder), download=download, **arguments)
    except (RuntimeError, OSError) as error:
        hint = "check the network" if download else f"give root=FOLDER, or download=true ({name}:download=true)"
        raise ConfigError(f"{kind} cannot be had from {folder} ({error}); {hint}.") from error
    chosen = np.arange(len(found))
    if 0 < n < len(found):
        chosen = np.sort(np.random.default_rng([seed, len(found)]).choice(len(found), n, replace=False))
    images, labels = np.empty((len(chosen), SIDE, SIDE, 3), np.float32), np.empty(len(chosen), np.int64)
    for k, i in enumerate(chosen):
        image, labels[k] = found[int(i)]
        image = image if change is None else change(image)
        images[k] = _shrunk(image)
    return _as_split(images, labels)


def _shrunk(image: Any) -> np.ndarray:
    """A PIL image as RGB in [0, 1], ``(16, 16, 3)``; every pixel of it counts."""
    from torchvision.transforms.v2 import functional

    pixels = functional.pil_to_tensor(image.convert("RGB")).to(torch.float32) / 255
    return functional.resize_image(pixels, [SIDE, SIDE], antialias=True).permute(1, 2, 0).numpy()


make_mnist, make_usps, make_svhn, make_emnist = (partial(make_digits, name) for name in _SETS)
