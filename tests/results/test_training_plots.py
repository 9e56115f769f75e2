"""Learning curves: what is drawn are the numbers that were recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from l2o_env.results.training_plots import plot_learning_curve, plot_learning_curves, running_mean

PATH = Path("unused.png")


def test_running_mean() -> None:
    np.testing.assert_allclose(running_mean(np.array([1.0, 3.0, 5.0, 7.0]), 2), [1, 2, 4, 6])
    np.testing.assert_allclose(running_mean(np.array([1.0, 3.0, 5.0]), 10), [1, 2, 3])


def test_learning_curve_shows_each_update_and_its_pair(tmp_path: Path, figures: list[Figure]) -> None:
    records = [{"episode": 16 * (i + 1), "return_mean": float(i), "pair": "ab"[i % 2]} for i in range(6)]
    plot_learning_curve(records, tmp_path / "curve.png", smoothing=2)
    a, b, mean = figures[0].axes[0].lines
    assert (a.get_label(), b.get_label()) == ("a", "b")
    np.testing.assert_allclose(b.get_xdata(), [32, 64, 96])
    np.testing.assert_allclose(b.get_ydata(), [1, 3, 5])
    np.testing.assert_allclose(mean.get_ydata(), [0, 0.5, 1.5, 2.5, 3.5, 4.5])


def test_learning_curves_side_by_side(figures: list[Figure]) -> None:
    names = [f"policy {k}" for k in range(9)]
    plot_learning_curves({name: ([16, 32, 48, 64], [1.0, 3.0, 5.0, 7.0]) for name in names}, PATH)
    lines = figures[0].axes[0].lines
    np.testing.assert_allclose(lines[0].get_ydata(), [1, 2, 3, 5])
    assert len({(to_hex(line.get_color()), str(line.get_linestyle())) for line in lines}) == len(names)
