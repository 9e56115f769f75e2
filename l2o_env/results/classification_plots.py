"""What a classifier gets right and wrong: its confusion matrix, and images that it takes for something else."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.results.plot_style import new_figure, save_figure

_LABELLED = 20
"""Most classes that cells are labelled for."""


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """Numbers of images ``(n_classes, n_classes)`` of each class (row) that were taken for each (column)."""
    counts = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def plot_confusion(counts: NDArray[np.int64], names: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Draws a confusion matrix, as shares of each row.

    Args:
        counts: What :func:`confusion` gave.
        names: Names of the classes.
        path: Where the PNG goes.
    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 1.8 + 0.42 * min(len(counts), 3 * _LABELLED)
    figure = new_figure(side + 1.2, side, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")  # what never happens is white, so that mistakes show
    figure.colorbar(image, label="share of the class's images")
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    if len(counts) <= _LABELLED:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                axes.text(column, row, f"{share:.2f}", ha="center", va="center", fontsize=8,
                          color="black" if share < 0.6 else "white")  # fmt: skip
    save_figure(figure, path)


def plot_mistakes(
    images: Tensor,
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    names: Sequence[str],
    path: str | os.PathLike[str],
) -> None:
    """Draws images that were taken for another class.

    Args:
        images: ``(n, channels, height, width)``, as the network takes them; each is drawn from its darkest to its
            brightest value.
        labels: Their classes ``(n,)``.
        predicted: What they were taken for ``(n,)``.
        names: Names of the classes.
        path: Where the PNG goes.
    """
    columns = min(6, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(1.7 * columns, 1.95 * rows, layout="constrained")
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    pictures = ((images - low) / (high - low).clamp(min=1e-6)).permute(0, 2, 3, 1).numpy()
    for k, axis in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axis.axis("off")
        if k < len(images):
            axis.imshow(pictures[k])
            axis.set_title(f"{names[labels[k]]}\ntaken for {names[predicted[k]]}", fontsize=8)
    save_figure(figure, path)
