"""Images, and where networks look on them, side by side."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.evaluation.attention import Look
from l2o_env.results.plot_style import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_attention(
    images: Tensor,
    labels: NDArray[np.int64],
    looks: Mapping[str, Look],
    path: str | os.PathLike[str],
    classes: Sequence[str] = (),
) -> None:
    """Draws images, and the attention of each network on them.

    Args:
        images: ``(n, channels, height, width)``.
        labels: Their classes ``(n,)``.
        looks: What each network does on them, by its name.
        path: Where the picture goes.
        classes: Names of the classes; empty: their numbers.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    n, n_rows = len(images), 1 + len(looks)
    width, height = 1.35 * n + 2.6, 1.55 * n_rows + 1.1
    figure = new_figure(width, height)
    axes = figure.subplots(n_rows, n, squeeze=False)
    figure.subplots_adjust(left=2.3 / width, right=0.99, top=1 - 0.75 / height, bottom=0.12, wspace=0.08, hspace=0.32)
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    pictures = ((images - low) / (high - low).clamp(min=1e-6)).permute(0, 2, 3, 1).numpy()
    for k in range(n):
        _panel(axes[0, k], pictures[k], None, f"true: {class_name(labels[k], classes)}")
        for row, look in enumerate(looks.values(), start=1):
            predicted = look.predicted[k]
            mark = "✓" if predicted == labels[k] else "✗"
            _panel(axes[row, k], pictures[k], look.maps[k], f"{class_name(predicted, classes)} {mark}")
    for axis, name in zip(axes[:, 0], ("real image", *looks), strict=True):
        axis.set_ylabel(textwrap.fill(name, 22), rotation=0, ha="right", va="center", fontsize=9, labelpad=8)
    layers = ", ".join(dict.fromkeys(look.layer for look in looks.values()))
    title = (
        f"Attention (Grad-CAM of the output of {layers})\nfor the class that each network predicts: right ✓ or wrong ✗"
    )
    figure.suptitle(title, fontsize=10, y=1 - 0.1 / height)
    place = figure.add_axes((0.62, 0.05, 0.37, 0.018))
    scale = ScalarMappable(Normalize(0, 1), "inferno")
    bar = figure.colorbar(scale, cax=place, orientation="horizontal", ticks=[0, 0.5, 1])
    bar.ax.tick_params(labelsize=8)
    figure.text(0.61, 0.059, "attention, over the maximum of its map", ha="right", va="center", fontsize=8)
    figure.savefig(path, dpi=150)


def class_name(index: int, classes: Sequence[str]) -> str:
    """What pictures call a class."""
    return classes[index] if classes else str(index)


def _panel(axis: Axes, picture: NDArray[Any], heat: NDArray[np.float64] | None, title: str) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title, fontsize=8, pad=4)
    if heat is None:
        axis.imshow(picture, interpolation="nearest")
        return
    axis.imshow(picture.mean(-1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    top = heat.max()
    if top == 0:
        axis.text(0.5, 0.5, "no attention", transform=axis.transAxes, ha="center", va="center", fontsize=8,
                  bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 2})  # fmt: skip
        return
    heat = heat / top
    # More transparent where there is less, so that the image is seen.
    axis.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.15 + 0.6 * heat, interpolation="nearest")
