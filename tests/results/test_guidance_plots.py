"""Rates against the guidance gradient: what is drawn are the numbers that were recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from l2o_env.errors import ConfigError
from l2o_env.results.guidance_plots import binned, guidance_correlation, plot_rate_against_guidance, with_seen_guidance
from tests.results.recorded import recorded

PATH = Path("unused.png")


def _labels_of(axis: Any) -> list[str]:
    """Labels of major and minor ticks that are seen."""
    low, high = axis.get_view_interval()
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [t.label1.get_text() for t in ticks if low <= t.get_loc() <= high and t.label1.get_text()]


def test_a_rate_answers_to_the_gradient_of_the_step_before() -> None:
    rows = recorded()
    seen = with_seen_guidance(rows[rows["policy"] == "careful"])
    assert sorted(seen["step"].unique()) == [2, 3, 4, 5]
    assert set(seen["layer"]) == {"stem", "layer1"}  # the head has no guidance gradient
    scale = seen["layer"].map({"stem": 1e-4, "layer1": 1e-3})
    np.testing.assert_allclose(seen["lr"] * seen["seen"], scale)


def test_the_correlation_is_spearmans_of_each_layer() -> None:
    rows = recorded()
    noisy = rows.assign(lr=rows["lr"] * np.exp(np.random.default_rng(1).normal(size=len(rows))))
    seen = with_seen_guidance(noisy[noisy["policy"] == "careful"])
    found = guidance_correlation(seen).set_index("layer")
    assert list(found.index) == ["all layers", "stem", "layer1"]
    for layer in ("stem", "layer1"):
        mine = seen[seen["layer"] == layer]
        assert found.loc[layer, "rho"] == pytest.approx(spearmanr(mine["seen"], mine["lr"]).statistic)
        assert found.loc[layer, "low"] < found.loc[layer, "rho"] < found.loc[layer, "high"] < 0.2
    constant = guidance_correlation(with_seen_guidance(rows[rows["policy"] == "flat"]))
    assert np.isnan(constant["rho"].iloc[-1])


def test_rates_against_guidance(figures: list[Figure]) -> None:
    plot_rate_against_guidance(recorded(), PATH, policy="careful")
    left, right = figures[0].axes
    assert left.get_xscale() == left.get_yscale() == "log"
    x, y = left.lines[1].get_data()  # the binned line of the stem
    np.testing.assert_allclose(np.asarray(x) * np.asarray(y), 1e-4)
    assert [label.get_text() for label in right.get_yticklabels()] == ["all layers", "stem", "layer1", "head"]
    assert [text.get_text() for text in right.texts] == ["no guidance gradient"]
    assert [round(float(line.get_xdata()[0]), 6) for line in right.lines[1:3]] == [-1, -1]
    with pytest.raises(ConfigError, match="No guidance gradient was recorded"):
        plot_rate_against_guidance(recorded().assign(guidance_rms=0.0), PATH)


def test_bins_have_equal_counts() -> None:
    x, y = binned(np.array([3.0, 1.0, 2.0, 4.0]), np.array([30.0, 10.0, 20.0, 60.0]), 2)
    assert (x.tolist(), y.tolist()) == ([1.5, 3.5], [15.0, 45.0])
    assert len(binned(np.arange(3.0), np.arange(3.0), 8)[0]) == 3


@pytest.mark.parametrize(("spread", "expected"), [(0.004, 3), (0.08, 3), (3.0, 2)])
def test_labels_of_a_narrow_axis_do_not_collide(figures: list[Figure], spread: float, expected: int) -> None:
    rows = recorded()
    wide = np.random.default_rng(1).uniform(size=len(rows))
    rows["guidance_rms"] = np.where(rows["guidance_rms"] > 0, 0.00123 * (1 + spread * wide), 0.0)
    plot_rate_against_guidance(rows, PATH)
    figures[0].canvas.draw()
    labels = _labels_of(figures[0].axes[0].xaxis)
    assert expected <= len(labels) <= 5
    assert len(set(labels)) == len(labels)
    assert all(float(label) > 0 for label in labels)
