"""Confusion matrices by hand, and pictures that name what they show."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure

from l2o_env.results.classification_plots import confusion, plot_confusion, plot_mistakes


def test_rows_are_true_and_columns_predicted(figures: list[Figure]) -> None:
    counts = confusion(np.array([0, 0, 0, 1]), np.array([0, 2, 2, 1]), 3)
    np.testing.assert_array_equal(counts, [[1, 0, 2], [0, 1, 0], [0, 0, 0]])
    plot_confusion(counts, ("a", "b", "c"), "confusion.png")
    axes = figures[0].axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[1 / 3, 0, 2 / 3], [0, 1, 0], [0, 0, 0]])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b", "c"]
    assert sorted(text.get_text() for text in axes.texts) == ["0.33", "0.67", "1.00"]


def test_mistakes_say_what_was_taken_for_what(figures: list[Figure]) -> None:
    images = torch.rand(7, 3, 4, 4)
    plot_mistakes(images, np.array([0] * 7), np.array([1] * 7), ("cat", "dog"), "mistakes.png")
    titles = [axes.get_title() for axes in figures[0].axes]
    assert titles.count("cat\ntaken for dog") == 7
