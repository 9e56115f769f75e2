"""Pictures of an evaluation: what is drawn are the numbers of the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from l2o_env.evaluation import aggregate
from l2o_env.evaluation.plots import limits, plot_improvement, plot_iqm, plot_profiles, plot_transfer_matrix
from l2o_env.evaluation.results_view import DRAWN, METRICS, ResultsView
from tests.evaluation.hand_made import results_table, results_view

PATH = Path("unused.png")


def test_the_matrix_has_means_intervals_and_frames(figures: list[Figure]) -> None:
    results = results_table()
    plot_transfer_matrix(ResultsView(results), PATH)
    axis = figures[0].axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["ours (a)", "theirs (2 pairs)", "uniform"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b"]  # nobody has an accuracy on the third
    means = np.array([[0.615, 0.715], [0.465, 0.565], [0.415, 0.515]])
    np.testing.assert_allclose(axis.images[0].get_array(), means - np.median(means, axis=0))
    cell = results[(results["policy"] == "uniform") & (results["pair"] == "b")]
    found = aggregate.mean(aggregate.score_matrix(cell, "real_accuracy"))
    half_width = (found.high - found.low) / 2
    assert [text.get_text() for text in axis.texts[-2:]] == [f"{found.value:.2f}", f"±{half_width:.2f}"]
    frames = [p for p in axis.patches if isinstance(p, Rectangle)]
    assert [(round(p.get_x() + 0.46), round(p.get_y() + 0.45)) for p in frames] == [(0, 0), (0, 1), (1, 1)]


def test_text_of_the_matrix_is_read_on_every_colour(figures: list[Figure]) -> None:
    plot_transfer_matrix(ResultsView(results_table()), PATH)
    axis = figures[0].axes[0]
    image = axis.images[0]
    colours = image.cmap(image.norm(np.asarray(image.get_array())))[..., :3].reshape(-1, 3)
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert (luminance + 0.05).min() / 0.05 > 7  # WCAG's contrast with black, at its strictest level
    assert {text.get_color() for text in axis.texts} == {"black"}
    assert min(text.get_fontsize() for text in axis.texts) >= 8


def test_equal_scores_are_seen(figures: list[Figure]) -> None:
    results = results_table().assign(v_end=0.0)
    results["real_accuracy"] = results["real_accuracy"].where(results["real_accuracy"].isna(), 1.0)
    plot_transfer_matrix(ResultsView(results), PATH)
    assert figures[0].axes[0].images[0].get_clim() == (-0.001, 0.001)
    plot_profiles(ResultsView(results), PATH)
    for axis, (low, middle, high) in zip(figures[1].axes, ((0.95, 0.99, 1.0), (-0.05, -0.01, 0.05)), strict=True):
        x, y = axis.lines[0].get_data()
        assert (x[0], x[-1]) == (low, high)
        assert y[np.searchsorted(x, middle)] == 1.0 and y[-1] == 0.0


def test_limits() -> None:
    assert limits(0.2, 0.9, "real_accuracy") == (0.2, 0.9)
    assert limits(0.0, 0.0, "proxy_accuracy") == (0.0, 0.05)
    assert limits(2.0, 2.0, "v_end") == (1.95, 2.05)


def test_the_interquartile_mean_of_each_selection(figures: list[Figure]) -> None:
    results = results_view()
    plot_iqm(results, PATH)
    real, value, proxy = figures[0].axes
    assert [axis.get_xlabel() for axis in (real, value, proxy)] == [METRICS[name] for name in DRAWN]
    points = {round(float(line.get_xdata()[0]), 4) for line in real.lines if len(line.get_xdata())}
    rows = results.table[results.table["pair"] != "no-target"]
    expected = {
        round(float(aggregate.iqm(aggregate.score_matrix(group, "real_accuracy")).value), 4)
        for _, group in rows.groupby(["policy", "selection"])
    }
    assert points == expected
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == [
        "last policy", "selected on source validation", "hand-made"
    ]  # fmt: skip


def test_profiles_fall_from_one_to_zero(figures: list[Figure]) -> None:
    plot_profiles(results_view(), PATH)
    lines = {line.get_label(): line for line in figures[0].axes[0].lines}
    assert list(lines) == ["ours", "theirs", "uniform"]
    shares = np.asarray(lines["ours"].get_ydata())
    assert shares[0] == 1
    assert shares[-1] == 0
    assert (np.diff(shares) <= 0).all()
    at = np.searchsorted(lines["ours"].get_xdata(), 0.65)  # between the scores of the two pairs
    assert shares[at] == 0.5


def test_improvement_over_the_reference(figures: list[Figure]) -> None:
    plot_improvement(results_view(), PATH)
    axis = figures[0].axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["ours", "theirs"]
    assert [text.get_text() for text in axis.texts] == ["1.00", "1.00"]
    assert "P(policy > uniform) by real accuracy" in axis.get_xlabel()


def test_no_text_is_cut_off(figures: list[Figure]) -> None:
    """Every title, label and legend lies within its figure, at the narrowest."""
    table = results_table()
    results = ResultsView(table[table["pair"] == "a"])
    plot_transfer_matrix(results, PATH)
    plot_iqm(results, PATH)
    plot_profiles(results, PATH)
    plot_improvement(results, PATH)
    for figure in figures:
        figure.draw_without_rendering()
        width, height = figure.bbox.width, figure.bbox.height
        texts = [*figure.texts]  # the title
        texts += [label for axis in figure.axes for label in (axis.xaxis.label, axis.yaxis.label)]
        ticks = [label for axis in figure.axes for label in axis.get_yticklabels()]
        for text in filter(lambda text: text.get_text(), [*texts, *ticks]):
            box = text.get_window_extent()
            assert -1 <= box.x0 <= box.x1 <= width + 1, text.get_text()
            # Ticks beyond the limits of an axis have labels too, which are not drawn.
            assert text in ticks or -1 <= box.y0 <= box.y1 <= height + 1, text.get_text()
