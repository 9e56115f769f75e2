"""A picture of both sides of the data set: what is trained on, what is validated on, and photographs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from l2o_env.atomic import atomic_path
from l2o_env.errors import ConfigError
from l2o_env.pairs.photos.assemble import ORIGINS_FILE
from l2o_env.pairs.photos.clipart_photos import ClipartPhotosSettings, cut_outs, drawings, half, photographs
from l2o_env.pairs.photos.drawing import Drawings
from l2o_env.results.plot_style import new_figure, save_figure

FREE = ("public domain", "cc0-1.0", "mit", "sil open font license 1.1")
"""Licences, in small letters, of images that a picture may show without further words."""
_COLUMNS = {"drawn to train on": 4, "drawn in a style held out": 2, "photographs": 4}


def contact_sheet(root: Path, path: Path) -> None:
    """Draws some images of each class that has photographs anybody may show; of those that nobody is tested on.

    Args:
        root: The data set.
        path: The picture: a JPEG if it ends with ``.jpg``, else a PNG.

    Raises:
        ConfigError: If the data set is not there, or its file of origins.
        OSError: If the picture cannot be written.
    """
    source = cut_outs(root)
    real = photographs(root, source.classes)
    free = _free(root)
    settings = ClipartPhotosSettings(root=root, n_train=40 * len(source.classes), n_validation=10 * len(source.classes))
    sides: list[dict[int, list[Any]]] = [
        _by_class(drawings(settings, source, held_out=held_out)) for held_out in (False, True)
    ]
    shown: dict[int, list[Any]] = {}
    if real is not None:
        unseen = half(real, 1)
        chosen = [i for i, file in enumerate(unseen.files) if str(file.relative_to(root)) in free]
        for i in chosen:
            shown.setdefault(int(np.asarray(unseen.labels)[i]), []).append(unseen[i][0])
    rows = [label for label in range(len(source.classes)) if shown.get(label)] or list(range(len(source.classes)))
    _draw(
        [source.classes[label] for label in rows], [[side.get(k, []) for side in (*sides, shown)] for k in rows], path
    )


def _draw(classes: Sequence[str], rows: Sequence[Sequence[Sequence[Any]]], path: Path) -> None:
    from PIL import Image

    widths = list(_COLUMNS.values())
    ratios = [width for k, n in enumerate(widths) for width in ([0.35] if k else []) + [1.0] * n]
    figure = new_figure(0.85 * sum(ratios) + 0.9, 0.87 * len(rows) + 0.5)
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
    grid = figure.add_gridspec(len(rows), len(ratios), width_ratios=ratios)
    for r, row in enumerate(rows):
        column = 0
        for (title, n), images in zip(_COLUMNS.items(), row, strict=True):
            column += column > 0
            for k in range(n):
                axis = figure.add_subplot(grid[r, column])
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
                if k < len(images):
                    axis.imshow(np.asarray(images[k]))
                if column == 0:
                    axis.set_ylabel(classes[r], rotation=0, ha="right", va="center")
                if r == 0 and k == (n - 1) // 2:
                    axis.set_title(title, loc="left", fontsize=10)
                column += 1
    with atomic_path(path) as temporary:
        save_figure(figure, temporary)
        if path.suffix.lower() in (".jpg", ".jpeg"):  # a fifth of the bytes
            with Image.open(temporary) as image:
                pixels = image.convert("RGB")
            pixels.save(temporary, "jpeg", quality=88, optimize=True)


def _by_class(images: Drawings) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for i in range(min(len(images), 12 * (1 + int(images.labels.max())))):
        image, label = images[i]
        found.setdefault(label, []).append(image)
    return found


def _free(root: Path) -> set[str]:
    """Files whose licence is one of ``FREE``."""
    try:
        with (root / ORIGINS_FILE).open(newline="", encoding="utf-8") as file:
            return {row["file"] for row in csv.DictReader(file) if row["licence"].lower() in FREE}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{root / ORIGINS_FILE} cannot be read ({error}); make the data set again.") from error
