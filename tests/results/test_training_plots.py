"""Learning curves: what is drawn are the numbers that were recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from l2o_env.results.training_plots import gains, plot_learning_curve, plot_learning_curves, running_mean, shows_gains

PATH = Path("unused.png")


def test_running_mean() -> None:
    np.testing.assert_allclose(running_mean(np.array([1.0, 3.0, 5.0, 7.0]), 2), [1, 2, 4, 6])
    np.testing.assert_allclose(running_mean(np.array([1.0, 3.0, 5.0]), 10), [1, 2, 3])


def test_gains_leave_out_what_sets_pairs_apart() -> None:
    """Two pairs that are 10 apart and gain the same: the gain alone remains."""
    values = [0.0, 10.0, 1.0, 11.0, 3.0, 13.0]
    np.testing.assert_allclose(gains(np.array(values), list("ababab")), [0, 0, 1, 1, 3, 3], atol=1e-12)
    np.testing.assert_allclose(gains(np.array([1.0, 4.0, 2.0]), list("aaa")), [0, 3, 1], atol=1e-12)


def test_learning_curve_shows_the_gain_of_each_update_and_its_pair(figures: list[Figure]) -> None:
    records = [{"episode": 16 * (i + 1), "return_mean": 5.0 * (i % 2) + i // 2, "pair": "ab"[i % 2]} for i in range(6)]
    plot_learning_curve(records, PATH, smoothing=2)
    a, b, start, mean = figures[0].axes[0].lines
    assert [line.get_label() for line in (a, b, start)] == ["a", "b", "start of training"]
    assert a.get_color() != b.get_color()
    np.testing.assert_allclose(b.get_xdata(), [32, 64, 96])
    np.testing.assert_allclose(b.get_ydata(), [0, 1, 2], atol=1e-12)
    np.testing.assert_allclose(start.get_ydata(), 0)
    np.testing.assert_allclose(mean.get_xdata(), [32, 48, 64, 80, 96])  # from the first two on
    np.testing.assert_allclose(mean.get_ydata(), [0, 0.5, 1, 1.5, 2], atol=1e-12)
    assert "return of episodes (nats)" in figures[0].axes[0].get_ylabel()


def test_learning_curve_draws_v_at_the_end_if_that_is_the_reward(figures: list[Figure]) -> None:
    records = [{"episode": i, "return_mean": 7.0, "value_mean": float(i), "pair": "a"} for i in (1, 2, 3, 4)]
    plot_learning_curve(records, PATH)
    plot_learning_curve(records, PATH, reward="val_accuracy")
    for figure, expected, text in zip(figures, ([0, 1, 2, 3], [0] * 4), ("V at the end", "(share)"), strict=True):
        np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), expected)
        assert text in figure.axes[0].get_ylabel()


def test_what_was_seen_once_has_no_gain(figures: list[Figure]) -> None:
    plot_learning_curve([{"episode": i, "return_mean": float(i), "pair": f"pair-{i}"} for i in (1, 2)], PATH)
    axis = figures[0].axes[0]
    assert [float(line.get_ydata()[0]) for line in axis.lines] == [1, 2]  # a running mean of one point is no line
    assert axis.get_xlim()[0] == 0 and all(tick == int(tick) for tick in axis.get_xticks())
    assert "gain" not in figures[0].axes[0].get_ylabel()
    assert not shows_gains([])
    mixed = [{"episode": i, "return_mean": float(i), "pair": f"a+pair-{i}"} for i in (1, 2, 3)]
    plot_learning_curve(mixed, PATH)
    line = figures[1].axes[0].lines[0]
    assert line.get_label() == "several pairs"
    np.testing.assert_allclose(line.get_ydata(), [0, 1, 2])


def test_learning_curves_side_by_side(figures: list[Figure]) -> None:
    records = [{"episode": 16 * i, "return_mean": value} for i, value in enumerate((1.0, 3.0, 5.0, 7.0))]
    names = [f"policy {k}" for k in range(9)]
    plot_learning_curves(dict.fromkeys(names, records), PATH)
    start, *lines = figures[0].axes[0].lines
    assert start.get_label() == "start of training"
    np.testing.assert_allclose(lines[0].get_ydata(), [2, 4])
    assert len({(to_hex(line.get_color()), str(line.get_linestyle())) for line in lines}) == len(names)
