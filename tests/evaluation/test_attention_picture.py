"""Pictures of attention: classes by their names, and maps that are empty."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from l2o_env.evaluation.attention import Look
from l2o_env.evaluation.attention_picture import class_name, plot_attention
from tests.tiny import tiny_pair

PAIR = tiny_pair()


def test_an_empty_map_says_so(figures: list[Figure]) -> None:
    maps = np.zeros((2, 8, 8))
    maps[1, 3, 3] = 1.0
    assert PAIR.target is not None
    looks = {"net": Look(maps, np.array([0, 1]), "layer1")}
    plot_attention(PAIR.target.images[:2], np.array([0, 1]), looks, "unused.png")
    texts = {axis.get_title(): [text.get_text() for text in axis.texts] for axis in figures[0].axes}
    assert texts["0 ✓"] == ["no attention"] and texts["1 ✓"] == []
    assert "output of layer1" in figures[0].get_suptitle()


def test_classes_have_names_where_the_pair_has_them() -> None:
    assert [class_name(k, ()) for k in (0, 3)] == ["0", "3"]
    assert [class_name(k, ("cat", "dog")) for k in (0, 1)] == ["cat", "dog"]
