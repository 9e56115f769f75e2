"""Pictures of an adaptation show what they are given."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from l2o_env.results.adaptation_plots import plot_label_maps, plot_pseudo_labels, plot_rounds


def test_rounds(figures: list[Figure]) -> None:
    frame = pd.DataFrame({"round": [0, 1], "real_accuracy": [0.4, 0.6], "information": [1.0, 1.5],
                          "labelled": [np.nan, 0.3], "pseudo_accuracy": [np.nan, np.nan]})  # fmt: skip
    plot_rounds(frame, "x.png")
    left, right = figures[0].axes
    assert left.lines[0].get_ydata().tolist() == [0.4, 0.6]  # type: ignore[union-attr]
    assert len(left.lines) == 2  # a line of nothing is left out
    assert right.lines[0].get_ydata().tolist() == [1.0, 1.5]  # type: ignore[union-attr]


def test_wrong_labels_have_a_red_frame(figures: list[Figure]) -> None:
    images = np.zeros((3, 4, 4, 3), np.float32)
    plot_pseudo_labels(images, np.array([0, 0, 2]), np.array([0, 1, 2]), ["a", "b", "c"], "x.png")
    axes = figures[0].axes
    assert len(axes) == 2 * 6  # class b has none
    colours = [axis.spines["left"].get_edgecolor()[:3] for axis in axes if axis.images]
    assert [colour[0] > 0.5 for colour in colours] == [False, True, False]


def test_maps_leave_out_what_has_no_label(figures: list[Figure]) -> None:
    labels = np.full((1, 4, 4), -100)
    labels[0, 0, 0] = 2
    plot_label_maps(np.zeros((1, 4, 4, 3), np.float32), labels, np.ones((1, 4, 4), int), "x.png")
    shown = figures[0].axes[1].images[0].get_array()
    assert shown is not None and shown.count() == 1
