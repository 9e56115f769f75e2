"""The picture of an episode shows its numbers, whatever its length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from l2o_env.results.episode_picture import HEIGHT, WIDTH, draw_episode
from l2o_env.results.plot_style import layer_colours

LAYERS = ("stem", "layer1", "head")


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
