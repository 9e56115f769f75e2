"""Pictures: what is drawn are the numbers that were recorded."""

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
from l2o_env.results.episode_picture import HEIGHT, WIDTH, draw_episode
from l2o_env.results.plot_style import layer_colours
from l2o_env.results.rate_plots import MAX_PANELS, plot_actions
from l2o_env.results.training_plots import plot_learning_curve, running_mean

LAYERS = ("stem", "layer1", "head")


def _rows(pairs: tuple[str, ...] = ("a", "b"), policies: tuple[str, ...] = ("learned", "other")) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for policy, pair, seed, step in itertools.product(policies, pairs, range(5), (1, 2)):
        for i, layer in enumerate(LAYERS):
            lr = 10.0 ** (i - 4 + (seed - 2) / 10) * step * (1 if policy == "learned" else 5)
            rows.append({"policy": policy, "pair": pair, "seed": seed, "step": step, "layer": layer, "lr": lr})
            rows[-1]["updates"] = 10 * step
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


def test_actions_are_read_from_parquet_and_pairs_are_chosen(tmp_path: Path, figures: list[Figure]) -> None:
    _rows(pairs=tuple("abcdefgh")).to_parquet(tmp_path / "a.parquet")
    plot_actions(tmp_path / "a.parquet", tmp_path / "all.png")
    plot_actions(tmp_path / "a.parquet", tmp_path / "two.png", pairs=("h", "b"))
    assert [len(figure.axes) for figure in figures] == [MAX_PANELS, 2]
    assert [axis.get_title()[0] for axis in figures[1].axes] == ["h", "b"]


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


def test_colours_grow_lighter_from_stem_to_head() -> None:
    lightness = [0.3 * r + 0.59 * g + 0.11 * b for r, g, b, _ in layer_colours(6)]
    assert lightness == sorted(lightness)
    assert lightness[-1] < 0.85  # still seen on white


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


def _history(n: int, diverged: bool = False) -> list[dict[str, Any]]:
    return [
        {
            "updates": 15 * k,
            "lr": np.array([0.0, 1e-3, 1e-2]),
            "drift": np.array([0.0, 0.01, 0.1]) * k,
            "train_ce": 2.0 / (k + 1),
            "val_ce": 2.1 / (k + 1),
            "val_kl": 0.1 * k,
            "value": -2.1 / (k + 1) - 0.1 * k,
            "val_accuracy": 0.5,
            "pair": "tiny",
            "diverged": diverged,
        }
        for k in range(n)
    ]


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_an_episode_of_any_length_is_drawn_in_one_size(n: int) -> None:
    picture = draw_episode(_history(n), LAYERS)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture.dtype == np.uint8
    assert picture.min() < 50
    assert picture.max() == 255


def test_a_picture_shows_its_numbers() -> None:
    same = [draw_episode(_history(4), LAYERS) for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert (draw_episode(_history(4, diverged=True), LAYERS) != same[0]).any()
    colours = (np.array(layer_colours(3))[:, :3] * 255).round().astype(int)
    left = same[0][60:300, 70:320].reshape(-1, 3).astype(int)
    seen = [(np.abs(left - colour).sum(1) < 12).sum() for colour in colours]
    assert seen[0] == 0  # the stem's rate is 0: a logarithmic axis has no place for it
    assert min(seen[1:]) > 100
