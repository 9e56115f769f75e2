"""Pictures of actions: what is drawn are the numbers that were recorded."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from l2o_env.errors import ConfigError
from l2o_env.results.guidance_plots import binned, guidance_correlation, plot_rate_against_guidance, with_seen_guidance
from l2o_env.results.plot_style import choose
from l2o_env.results.rate_plots import MAX_PANELS, plot_entropy, plot_heatmap, plot_policies

PATH = Path("unused.png")
LAYERS = ("stem", "layer1", "head")


def _labels_of(axis: Any) -> list[str]:
    """Labels of major and minor ticks that are seen."""
    low, high = axis.get_view_interval()
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [t.label1.get_text() for t in ticks if low <= t.get_loc() <= high and t.label1.get_text()]


def _rows(policies: tuple[str, ...] = ("careful", "flat")) -> pd.DataFrame:
    """Policies that answer to the guidance gradient of the step before with less rate, or not at all."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for policy, pair, seed, (i, layer) in itertools.product(policies, ("a", "b"), range(4), enumerate(LAYERS)):
        seen = 1.0
        for step in range(1, 6):
            lr = 10.0 ** (i - 4) / (seen if policy == "careful" else 1.0)
            seen = float(rng.uniform(1, 4)) if layer != "head" else 0.0
            rows.append(
                {
                    "policy": policy, "pair": pair, "seed": seed, "sampled": False, "step": step, "updates": 10 * step,
                    "layer": layer, "lr": lr if layer != "stem" or policy == "careful" else 0.0,
                    "guidance_rms": seen, "entropy": -0.1 * step + i,
                }
            )  # fmt: skip
            seen = seen or 1.0
    return pd.DataFrame(rows)


def test_the_heatmap_has_layers_by_time(figures: list[Figure]) -> None:
    rows = _rows()
    plot_heatmap(rows, PATH, policy="careful")
    axis = figures[0].axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == list(LAYERS)
    values = axis.collections[0].get_array().reshape(3, 5)
    mine = rows[(rows["policy"] == "careful") & (rows["pair"] == "a") & (rows["layer"] == "layer1")]
    expected = [np.exp(np.log(mine[mine["step"] == step]["lr"]).mean()) for step in range(1, 6)]
    np.testing.assert_allclose(values[1], expected)
    assert axis.get_ylim()[0] > axis.get_ylim()[1]  # the input on top
    plot_heatmap(rows, PATH, policy="flat")
    frozen = np.ma.filled(figures[1].axes[0].collections[0].get_array().reshape(3, 5), np.nan)
    assert np.isnan(frozen[0]).all()
    assert "rate 0" in figures[1]._suptitle.get_text()  # type: ignore[attr-defined]


def test_policies_stand_side_by_side_on_common_axes(figures: list[Figure]) -> None:
    plot_policies(_rows(), PATH, pair="b")
    left, right = figures[0].axes
    assert (left.get_title(), right.get_title()) == ("careful", "flat")
    assert left.get_ylim() == right.get_ylim()
    np.testing.assert_allclose(right.lines[2].get_ydata(), 1e-2)
    assert [text.get_text() for text in right.texts] == ["rate 0: stem"]
    many = tuple(f"policy {k}" for k in range(8))
    plot_policies(_rows(many), PATH)
    assert len(figures[1].axes) == MAX_PANELS
    assert "6 of 8 policies" in figures[1]._suptitle.get_text()  # type: ignore[attr-defined]


def test_a_rate_answers_to_the_gradient_of_the_step_before() -> None:
    rows = _rows()
    seen = with_seen_guidance(rows[rows["policy"] == "careful"])
    assert sorted(seen["step"].unique()) == [2, 3, 4, 5]
    assert set(seen["layer"]) == {"stem", "layer1"}  # the head has no guidance gradient
    scale = seen["layer"].map({"stem": 1e-4, "layer1": 1e-3})
    np.testing.assert_allclose(seen["lr"] * seen["seen"], scale)


def test_the_correlation_is_spearmans_of_each_layer() -> None:
    rows = _rows()
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
    plot_rate_against_guidance(_rows(), PATH, policy="careful")
    left, right = figures[0].axes
    assert left.get_xscale() == left.get_yscale() == "log"
    x, y = left.lines[1].get_data()  # the binned line of the stem
    np.testing.assert_allclose(np.asarray(x) * np.asarray(y), 1e-4)
    assert [label.get_text() for label in right.get_yticklabels()] == ["all layers", "stem", "layer1"]
    assert [round(float(line.get_xdata()[0]), 6) for line in right.lines[1:3]] == [-1, -1]
    with pytest.raises(ConfigError, match="No guidance gradient was recorded"):
        plot_rate_against_guidance(_rows().assign(guidance_rms=0.0), PATH)


def test_bins_have_equal_counts() -> None:
    x, y = binned(np.array([3.0, 1.0, 2.0, 4.0]), np.array([30.0, 10.0, 20.0, 60.0]), 2)
    assert (x.tolist(), y.tolist()) == ([1.5, 3.5], [15.0, 45.0])
    assert len(binned(np.arange(3.0), np.arange(3.0), 8)[0]) == 3


def test_entropy_over_training_and_over_an_episode(figures: list[Figure]) -> None:
    rows = choose(_rows(), "careful")
    plot_entropy({"careful": ([16.0, 32.0], [1.0, 0.5])}, PATH, rows)
    training, episode = figures[0].axes
    np.testing.assert_allclose(training.lines[0].get_ydata(), [1.0, 0.5])
    np.testing.assert_allclose(episode.lines[1].get_ydata(), 1 - 0.1 * np.arange(1, 6))
    plot_entropy({}, PATH, rows)
    assert len(figures[1].axes) == 1
    with pytest.raises(ConfigError, match="no entropy to draw"):
        plot_entropy({}, PATH, rows.assign(entropy=np.nan))


def test_sampled_rows_are_left_out_where_there_are_others() -> None:
    rows = _rows()
    both = pd.concat([rows, rows.assign(sampled=True)])
    assert len(choose(both, "flat")) == len(choose(rows.assign(sampled=True), "flat")) == len(rows) // 2
    assert choose(both)["policy"].unique().tolist() == ["careful"]
    for kwargs, told in (({"policy": "flatt"}, "Did you mean 'flat'"), ({"pairs": ["c"]}, "Unknown pair")):
        with pytest.raises(ConfigError, match=told):
            choose(rows, **kwargs)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="recording is empty"):
        choose(rows.iloc[:0])


@pytest.mark.parametrize(("spread", "expected"), [(0.004, 3), (0.08, 3), (3.0, 2)])
def test_labels_of_a_narrow_axis_do_not_collide(figures: list[Figure], spread: float, expected: int) -> None:
    rows = _rows()
    wide = np.random.default_rng(1).uniform(size=len(rows))
    rows["guidance_rms"] = np.where(rows["guidance_rms"] > 0, 0.00123 * (1 + spread * wide), 0.0)
    plot_rate_against_guidance(rows, PATH)
    figures[0].canvas.draw()
    labels = _labels_of(figures[0].axes[0].xaxis)
    assert expected <= len(labels) <= 5
    assert len(set(labels)) == len(labels)
    assert all(float(label) > 0 for label in labels)
