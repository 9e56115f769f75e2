"""Pairs of images with one class each: what is held out, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2o_env import ConfigError, pairs
from l2o_env.evaluation.resumable import pair_digest
from l2o_env.pairs.pair import Pair
from tests.image_trees import MicroNet, class_folders, picture, save, save_weights


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    class_folders(tmp_path / "source", n=6)
    class_folders(tmp_path / "target", n=3, seed=1)
    save_weights(tmp_path / "weights.pt")
    return tmp_path


def _make(tree: Path, **settings: Any) -> Pair:
    given = {"source": tree / "source", "weights": tree / "weights.pt", "backbone": MicroNet}
    return pairs.make("folders", **{**given, "size": 12, "n_validation": 4, **settings})


def test_validation_images_are_split_off_evenly(tree: Path) -> None:
    pair = _make(tree, target=tree / "target")
    assert (len(pair.train), len(pair.validation), len(pair.target or ())) == (8, 4, 6)
    train, validation = (set(map(str, split.samples.files)) for split in (pair.train, pair.validation))  # type: ignore[union-attr]
    assert not train & validation
    assert pair.validation.labels.tolist() == [0, 0, 1, 1]  # type: ignore[union-attr]
    again, other = _make(tree), _make(tree, seed=1)
    assert {str(f) for f in again.validation.samples.files} == validation  # type: ignore[union-attr]
    assert {str(f) for f in other.validation.samples.files} != validation  # type: ignore[union-attr]


def test_an_unreadable_image_is_named_or_skipped_and_counted(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = tree / "source" / "cat" / "000.png"
    bad.write_bytes(b"no image")
    with pytest.raises(ConfigError, match=r"1 of 12 source images cannot be used\. .*cat/000\.png cannot be decoded"):
        _make(tree)
    half = tree / "source" / "dog" / "001.png"
    half.write_bytes(half.read_bytes()[:-200])  # its header is whole
    caplog.set_level("WARNING", "l2o_env")
    pair = _make(tree, on_error="skip")
    assert len(pair.train) + len(pair.validation) == 10
    assert "2 of 12 source images cannot be used and are skipped" in caplog.text
    assert "dog/001.png cannot be decoded" in caplog.text
    bad.unlink()
    with pytest.raises(ConfigError, match=r"dog/001\.png cannot be decoded \(image file is truncated\).*on_error=skip"):
        _make(tree)


def test_a_file_that_changes_after_the_start_is_named(tree: Path) -> None:
    split = _make(tree).train
    file = split.samples.files[2]  # type: ignore[union-attr]
    file.write_bytes(b"no image")
    with pytest.raises(
        ConfigError, match=rf"{file} cannot be decoded \(it is no image.*start again; with on_error=skip"
    ):
        split.read(2)  # type: ignore[union-attr]


def test_a_grey_or_transparent_image_becomes_rgb(tree: Path) -> None:
    rng = np.random.default_rng(0)
    save(picture(0, rng)[..., 0], tree / "source" / "cat" / "grey.png")
    save(np.concatenate([picture(0, rng), picture(1, rng)[..., :1]], -1), tree / "source" / "cat" / "alpha.png")
    pair = _make(tree)
    assert all(pair.train.base(i).image.shape == (3, 12, 12) for i in range(len(pair.train)))  # type: ignore[union-attr]


def test_a_fingerprint_tells_whether_files_have_changed(tree: Path) -> None:
    before = pair_digest(_make(tree))
    assert pair_digest(_make(tree)) == before
    assert pair_digest(_make(tree, mirror=True)) != before
    save(picture(2, np.random.default_rng(9)), tree / "source" / "cat" / "000.png")
    assert pair_digest(_make(tree)) != before


def test_images_are_normalised_as_the_settings_say(tree: Path) -> None:
    half = (0.5, 0.5, 0.5)
    pair = _make(tree, target=tree / "target", mean=half, std=(0.5, 0.25, 0.5))
    for split in (pair.train, pair.validation, pair.target):
        assert (split.mean, split.std) == (half, (0.5, 0.25, 0.5))  # type: ignore[union-attr]
    assert pair_digest(pair) != pair_digest(_make(tree, target=tree / "target"))
