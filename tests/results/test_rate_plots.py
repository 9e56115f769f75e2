"""Pictures of rates: what is drawn are the numbers that were recorded."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from l2o_env.errors import ConfigError
from l2o_env.results.rate_plots import MAX_PANELS, plot_actions, plot_heatmap, plot_policies
from tests.results.recorded import LAYERS, recorded

PATH = Path("unused.png")


def test_the_heatmap_has_layers_by_time(figures: list[Figure]) -> None:
    rows = recorded()
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
    assert "hatched: rate 0" in figures[1].get_suptitle()
    assert figures[1].axes[0].patch.get_hatch() == "///"
    assert "rate 0" not in figures[0].get_suptitle()


def test_policies_stand_side_by_side_on_common_axes(figures: list[Figure]) -> None:
    plot_policies(recorded(), PATH, pair="b")
    left, right = figures[0].axes
    assert (left.get_title(), right.get_title()) == ("careful", "flat")
    assert left.get_ylim() == right.get_ylim()
    np.testing.assert_allclose(right.lines[2].get_ydata(), 1e-2)
    assert [text.get_text() for text in right.texts] == ["rate 0: stem"]


def test_policies_that_do_nearly_the_same_share_a_panel(figures: list[Figure]) -> None:
    names = tuple(f"policy {k}" for k in range(8))
    rows = recorded(names)
    plot_policies(rows, PATH)
    assert [axis.get_title() for axis in figures[0].axes] == ["policy 0\nand 7 others, nearly the same"]
    factor = rows["policy"].map({name: 2.0**k for k, name in enumerate(names)})
    factor[rows["policy"] == "policy 1"] = 1.05
    plot_policies(rows.assign(lr=rows["lr"] * factor), PATH)
    titles = [axis.get_title() for axis in figures[1].axes]
    assert titles == ["policy 0\nand policy 1, nearly the same", *names[2:7]]
    assert f"{MAX_PANELS} of 7 that differ" in figures[1].get_suptitle()


def test_a_weight_of_the_guidance_that_changes_is_drawn_below(figures: list[Figure]) -> None:
    rows = recorded(("careful",))
    plot_actions(rows.assign(guidance_weight=0.3), PATH)
    assert len(figures[0].axes) == 2
    plot_actions(rows.assign(guidance_weight=0.1 * rows["step"]), PATH)
    rates, below = figures[1].axes[:2]
    assert (rates.get_title(), below.get_yscale()) == ("a (4 episodes)", "log")
    assert below.get_ylabel() == "weight λ of\nthe guidance"
    np.testing.assert_allclose(below.lines[0].get_xdata(), [0, 10, 20, 30, 40, 50])
    np.testing.assert_allclose(below.lines[0].get_ydata(), [0.1, 0.1, 0.2, 0.3, 0.4, 0.5])


def _rows(pairs: tuple[str, ...] = ("a", "b"), policies: tuple[str, ...] = ("learned", "other")) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for policy, pair, seed, step in itertools.product(policies, pairs, range(5), (1, 2)):
        for i, layer in enumerate(LAYERS):
            lr = 10.0 ** (i - 4 + (seed - 2) / 10) * step * (1 if policy == "learned" else 5)
            rows.append({"policy": policy, "pair": pair, "seed": seed, "step": step, "layer": layer, "lr": lr})
            rows[-1] |= {"updates": 10 * step, "sampled": False}
    return pd.DataFrame(rows)


def test_actions_show_the_geometric_mean_and_the_quantiles(tmp_path: Path, figures: list[Figure]) -> None:
    plot_actions(_rows(), tmp_path / "actions.png", policy="learned")
    axes = figures[0].axes
    assert [axis.get_title() for axis in axes] == ["a (5 episodes)", "b (5 episodes)"]
    assert axes[0].get_yscale() == "log"
    assert [line.get_label() for line in axes[0].lines] == list(LAYERS)
    line = axes[0].lines[1]  # layer1: seeds lie symmetrically in the logarithm around 1e-3 and 2e-3
    np.testing.assert_allclose(line.get_xdata(), [0, 10, 20])
    np.testing.assert_allclose(line.get_ydata(), [1e-3, 1e-3, 2e-3])
    band = axes[0].collections[1].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([band.min(), band.max()], [1e-3 * 10**-0.16, 2e-3 * 10**0.16])


def test_pairs_are_chosen(tmp_path: Path, figures: list[Figure]) -> None:
    rows = _rows(pairs=tuple("abcdefgh"))
    plot_actions(rows, tmp_path / "all.png")
    plot_actions(rows, tmp_path / "two.png", pairs=("h", "b"))
    assert [len(figure.axes) for figure in figures] == [MAX_PANELS, 2]
    assert [axis.get_title()[0] for axis in figures[1].axes] == ["h", "b"]
    assert "(6 of 8 pairs)" in figures[0].get_suptitle()


def test_the_file_is_a_picture_and_the_only_one(tmp_path: Path) -> None:
    plot_actions(_rows(pairs=("a",)), tmp_path / "actions.png")
    assert [path.name for path in tmp_path.iterdir()] == ["actions.png"]
    with Image.open(tmp_path / "actions.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (640, 360))
        assert np.asarray(picture.convert("L")).min() < 50


def test_frozen_layers_do_not_break_the_logarithmic_axis(tmp_path: Path, figures: list[Figure]) -> None:
    rows = _rows(pairs=("a",))
    rows.loc[rows["layer"] == "stem", "lr"] = 0.0
    plot_actions(rows, tmp_path / "a.png")
    assert [len(line.get_ydata()) for line in figures[0].axes[0].lines] == [0, 3, 3]


def test_unknown_names_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Unknown policy .*'lerned'.*Did you mean 'learned'"):
        plot_actions(_rows(), tmp_path / "a.png", policy="lerned")
    with pytest.raises(ConfigError, match=r"Unknown pair .*'c'.*Known: 'a', 'b'"):
        plot_actions(_rows(), tmp_path / "a.png", pairs=("c",))
    assert list(tmp_path.iterdir()) == []
