"""Cut-outs that become images."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from l2o_env.pairs.images.image_split import UnreadableError
from l2o_env.pairs.photos.drawing import CutOut, Drawings, draw


def _object(width: int = 40, height: int = 20) -> Any:
    """A rectangle whose left half is red and whose right half is green."""
    pixels = np.full((height, width, 4), (0, 255, 0, 255), np.uint8)
    pixels[:, : width // 2] = (255, 0, 0, 255)
    return Image.fromarray(pixels)


@pytest.fixture
def cut_outs(tmp_path: Path) -> list[CutOut]:
    found = []
    for k, label in enumerate((0, 0, 1)):
        path = tmp_path / f"fluent-{k}.png"
        _object(20 + 10 * k).save(path)
        found.append(CutOut(path, label, "fluent"))
    return found


def _hues(image: Any) -> tuple[Any, Any]:
    """Where it is rather red, and where rather green."""
    red, green, blue = np.moveaxis(np.asarray(image).astype(int), -1, 0)
    return (red > green + 60) & (red > blue + 60), (green > red + 60) & (green > blue + 60)


def test_an_object_lies_within_and_is_mirrored_for_half_of_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "l2o_env.pairs.photos.drawing._background", lambda side, rng: np.full((side, side, 3), 0, np.uint8)
    )
    order, lengths = [], []
    for seed in range(40):
        red, green = _hues(draw(_object(), 64, np.random.default_rng(seed)))
        columns = np.nonzero((red | green).any(0))[0]
        if red.any() and green.any():
            order.append(np.nonzero(red)[1].mean() < np.nonzero(green)[1].mean())
        lengths.append(len(columns))
    assert 10 <= sum(order) <= len(order) - 10
    assert min(lengths) >= 25 and max(lengths) <= 64


def test_backgrounds_are_of_three_kinds() -> None:
    empty = Image.new("RGBA", (4, 4))
    images = [np.asarray(draw(empty, 24, np.random.default_rng(seed))).astype(int) for seed in range(60)]
    flat = [image.std((0, 1)).max() < 1 for image in images]
    assert 10 <= sum(flat) <= 30
    second = [np.abs(np.diff(image, 2, axis=0)).max() for image in images]  # a gradient has next to none
    gradients = sum(s <= 3 and not f for s, f in zip(second, flat, strict=True))
    assert 8 <= gradients <= 30 and 60 - sum(flat) - gradients >= 8


def test_an_image_depends_on_seed_and_index_alone_whoever_draws_it(cut_outs: list[CutOut]) -> None:
    drawings = Drawings(cut_outs, 12, 32, seed=3)
    alone = [np.asarray(drawings[i][0]) for i in range(12)]
    again = Drawings(cut_outs, 20, 32, seed=3)  # of more images, backwards, by several threads
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: np.asarray(again[i][0]), range(11, -1, -1)))[::-1]
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    assert len({image.tobytes() for image in alone}) == 12
    assert not np.array_equal(alone[0], np.asarray(Drawings(cut_outs, 12, 32, seed=4)[0][0]))
    assert alone[0].shape == (32, 32, 3) and alone[0].dtype == np.uint8


def test_classes_take_turns(cut_outs: list[CutOut]) -> None:
    drawings = Drawings(cut_outs, 5, 16, seed=0)
    assert drawings.labels.tolist() == [0, 1, 0, 1, 0] == [drawings[i][1] for i in range(5)]
    assert len(drawings) == 5


def test_fingerprints_tell_what_is_drawn(cut_outs: list[CutOut]) -> None:
    several = [
        Drawings(cut_outs, 5, 16, 0), Drawings(cut_outs, 6, 16, 0), Drawings(cut_outs, 5, 17, 0),
        Drawings(cut_outs, 5, 16, 1), Drawings(cut_outs[:2], 5, 16, 0),
    ]  # fmt: skip
    assert len({each.fingerprint() for each in several}) == 5
    before = several[0].fingerprint()
    _object(50).save(cut_outs[0].file)
    assert Drawings(cut_outs, 5, 16, 0).fingerprint() != before


def test_a_cut_out_that_cannot_be_decoded_is_named(cut_outs: list[CutOut]) -> None:
    cut_outs[2].file.write_bytes(b"no image")
    with pytest.raises(UnreadableError, match=r"fluent-2\.png cannot be decoded"):
        Drawings(cut_outs, 4, 16, 0)[1]
