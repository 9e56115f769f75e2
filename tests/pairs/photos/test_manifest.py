"""The list of images."""

from __future__ import annotations

from collections import Counter

from l2o_env.pairs.photos.manifest import ORIGINS, classes, entries


def test_the_list_is_whole() -> None:
    assert Counter(entry.style for entry in entries()) == {
        "fluent": 196, "noto": 196, "openclip": 290, "tuxpaint": 202, "gcompris": 149,
    }  # fmt: skip
    assert classes() == (
        "bird", "building", "fish", "flower", "fruit", "hoofed", "mammal", "tool", "vegetable", "vehicle",
    )  # fmt: skip
    assert len({(entry.style, entry.original) for entry in entries()}) == len(entries())
    for entry in entries():
        assert entry.part == ORIGINS[entry.style].part
        assert len(entry.sha256) == 16 and int(entry.sha256, 16) >= 0


def test_each_class_is_drawn_in_every_style_and_photographed() -> None:
    counts = Counter((entry.label, entry.style) for entry in entries())
    for label in classes():
        assert all(counts[label, style] >= 4 for style in ("fluent", "noto", "openclip"))
        assert counts[label, "tuxpaint"] + counts[label, "gcompris"] >= 16
