"""Entropy of the actions: what is drawn are the numbers that were recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from l2o_env.errors import ConfigError
from l2o_env.results.entropy_plots import plot_entropy
from l2o_env.results.record import select_rows
from tests.results.recorded import recorded

PATH = Path("unused.png")


def test_entropy_over_training_and_over_an_episode(figures: list[Figure]) -> None:
    rows = select_rows(recorded(), "careful")
    plot_entropy({"careful": ([16.0, 32.0], [1.0, 0.5])}, PATH, rows)
    training, episode = figures[0].axes
    np.testing.assert_allclose(training.lines[0].get_ydata(), [1.0, 0.5])
    np.testing.assert_allclose(episode.lines[1].get_ydata(), 1 - 0.1 * np.arange(1, 6))
    low, high = episode.get_ylim()
    assert high - low > 2
    plot_entropy({}, PATH, rows)
    assert len(figures[1].axes) == 1
    with pytest.raises(ConfigError, match="no entropy to draw"):
        plot_entropy({}, PATH, rows.assign(entropy=np.nan))


def test_what_hardly_changes_looks_like_it(figures: list[Figure]) -> None:
    rows = select_rows(recorded(), "careful").assign(entropy=1.0)
    plot_entropy({"careful": ([16.0, 32.0], [1.002, 1.0])}, PATH, rows)
    for axis in figures[0].axes:
        assert np.diff(axis.get_ylim()) == pytest.approx(0.5)
    assert [line.get_label() for line in figures[0].axes[1].lines] == ["all alike"]


def test_a_training_of_one_update_is_a_point_between_whole_numbers(figures: list[Figure]) -> None:
    plot_entropy({"careful": ([16.0], [1.0])}, PATH)
    (axis,) = figures[0].axes
    assert axis.lines[0].get_marker() == "o"
    assert axis.get_xlim()[0] == 0 and all(tick == int(tick) for tick in axis.get_xticks())
