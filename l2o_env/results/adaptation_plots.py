"""Pictures of an adaptation: accuracy over its rounds, and examples of pseudo labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l2o_env.results.plot_style import line_style, new_figure, save_figure

if TYPE_CHECKING:
    import pandas as pd

PER_CLASS = 6
"""Examples of each class."""
MAX_CLASSES = 20
"""Most rows of examples."""


def plot_rounds(history: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Draws accuracies, the share that is labelled, and information over the rounds.

    Args:
        history: A line per round, from 0, with columns ``round``, ``real_accuracy``, ``information``, ``labelled`` and
            ``pseudo_accuracy`` (NaN where a method has no pseudo labels).
        path: Where the PNG goes.
    """
    figure = new_figure(9, 3.8, layout="constrained")
    left, right = figure.subplots(1, 2)
    lines = {
        "real_accuracy": "accuracy (oracle: reads target labels)",
        "pseudo_accuracy": "pseudo labels that are right (oracle)",
        "labelled": "share of images (pixels) with a pseudo label",
    }
    for k, (key, text) in enumerate(lines.items()):
        if history[key].notna().any():
            left.plot(history["round"], history[key], label=text, marker="o", ms=3, **line_style(k))
    left.set(xlabel="round", ylabel="share", ylim=(0, 1))
    left.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)  # above, not on the lines
    right.plot(history["round"], history["information"], marker="o", ms=3, **line_style(0))
    right.set(xlabel="round", ylabel="H(mean p) - mean H(p) (nats)")
    right.set_title("information, which reads no labels", fontsize=10)
    for axis in (left, right):
        axis.grid(alpha=0.3, lw=0.5)
    save_figure(figure, path)


def plot_pseudo_labels(
    images: NDArray[np.float32], labels: NDArray[np.int64], truth: NDArray[np.int64], names: Sequence[str],
    path: str | os.PathLike[str],
) -> None:  # fmt: skip
    """Draws images in rows by the class that they were labelled as; a red, dashed frame is a wrong label.

    Args:
        images: ``(n, height, width, 3)``, 0 to 1; the first ``PER_CLASS`` of each class are shown.
        labels: Their pseudo labels ``(n,)``.
        truth: What they are ``(n,)``.
        names: Names of the classes.
        path: Where the PNG goes.
    """
    shown = [k for k in range(len(names)) if (labels == k).any()][:MAX_CLASSES]
    figure = new_figure(PER_CLASS * 0.9 + 1.2, 0.9 * len(shown) + 0.2, layout="constrained")
    axes = figure.subplots(len(shown), PER_CLASS, squeeze=False)
    for row, k in zip(axes, shown, strict=True):
        chosen = np.flatnonzero(labels == k)[:PER_CLASS]
        for place, axis in enumerate(row):
            right = place < len(chosen) and truth[chosen[place]] == k
            _frame(axis, "none" if place >= len(chosen) else "#009E73" if right else "#D00000", dashed=not right)
            if place < len(chosen):
                axis.imshow(images[chosen[place]])
        row[0].set_ylabel(names[k], rotation=0, ha="right", va="center", fontsize=8)
    save_figure(figure, path)


def plot_label_maps(
    images: NDArray[np.float32], labels: NDArray[np.int64], truth: NDArray[np.int64], path: str | os.PathLike[str]
) -> None:
    """Draws images, their labels of pixels, and the true ones side by side; what has none is white.

    Args:
        images: ``(n, height, width, 3)``, 0 to 1.
        labels: ``(n, height, width)``, negative for none.
        truth: Likewise.
        path: Where the PNG goes.
    """
    figure = new_figure(5.4, 0.4 + 1.75 * len(images) * images.shape[1] / images.shape[2], layout="constrained")
    axes = figure.subplots(len(images), 3, squeeze=False)
    top = max(int(truth.max()), int(labels.max()), 1)
    for row, image, label, true in zip(axes, images, labels, truth, strict=True):
        row[0].imshow(image)
        for axis, values in ((row[1], label), (row[2], true)):
            axis.imshow(np.ma.masked_less(values, 0), cmap="tab20", vmin=0, vmax=top, interpolation="nearest")
        for axis in row:
            _frame(axis, "#888888")
    for axis, title in zip(axes[0], ("image", "pseudo labels", "truth (oracle)"), strict=True):
        axis.set_title(title, fontsize=8)
    save_figure(figure, path)


def _frame(axis: Any, colour: str, *, dashed: bool = False) -> None:
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(color=colour, linewidth=2.5, linestyle=(0, (2, 1.2)) if dashed else "-", capstyle="butt")
