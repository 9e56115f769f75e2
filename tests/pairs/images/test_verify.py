"""Every image is decoded once before a training starts, and what was found is remembered."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2o_env.errors import ConfigError
from l2o_env.pairs.images import verify
from l2o_env.pairs.images.folder_listings import list_classes, list_masks
from l2o_env.pairs.images.image_split import UnreadableError
from l2o_env.pairs.images.label_maps import CITYSCAPES_CLASSES, LABEL_MAPS
from l2o_env.pairs.images.listing import Listing
from l2o_env.pairs.images.verify import verified
from tests.image_trees import class_folders, mask_folders, save


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("L2O_ENV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the index of each image that is decoded."""
    found: list[int] = []
    decode = Listing.__getitem__

    def noting(self: Listing, index: int) -> tuple[Any, Any]:
        found.append(index)
        return decode(self, index)

    monkeypatch.setattr(Listing, "__getitem__", noting)
    return found


def _listing(root: Path) -> Listing:
    return list_classes(class_folders(root / "images", n=3), "source images")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])  # its header is whole


def test_whole_images_are_decoded_once(tmp_path: Path, decoded: list[int]) -> None:
    listing = _listing(tmp_path)
    assert verified(listing, "raise") is listing
    assert sorted(decoded) == list(range(6))
    assert verified(listing, "raise") is verified(listing, "skip") is listing
    assert len(decoded) == 6
    os.utime(listing.files[2], ns=(1, 1))
    verified(listing, "raise")
    assert len(decoded) == 12


def test_what_was_left_out_is_remembered_and_looked_at_again(
    tmp_path: Path, decoded: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    listing = _listing(tmp_path)
    _truncate(listing.files[4])
    for _ in range(2):
        caplog.clear()
        kept = verified(listing, "skip")
        assert kept.files == [*listing.files[:4], listing.files[5]]
        assert np.asarray(kept.labels).tolist() == [0, 0, 0, 1, 1]
        assert "1 of 6 source images cannot be used and are skipped" in caplog.text
    assert decoded[6:] == [4]
    with pytest.raises(UnreadableError, match=rf"{listing.files[4]} cannot be decoded \(image file is truncated\)"):
        verified(listing, "raise")
    assert decoded[6:] == [4, 4]


def test_a_label_outside_the_map_is_found_in_any_mask(tmp_path: Path) -> None:
    folder = mask_folders(tmp_path / "masks", n=8)
    mask = np.zeros((16, 20), np.uint8)
    mask[3, 3] = 7
    save(mask, folder / "masks" / "7.png")
    with pytest.raises(
        UnreadableError, match=r"1 of 8 target images .*7\.png holds the label ids \[7\].*on_error=skip"
    ):
        verified(list_masks(folder, "target images"), "raise")


WHOLE = json.dumps({"unusable": [], "pixels": [0] * 256})


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[]", WHOLE[:-3], WHOLE.replace("[]", "[6]"), WHOLE.replace("[]", '["a"]'),
        WHOLE.replace("[]", "[-1]"), WHOLE.replace("[0, 0", "[0"), WHOLE.replace("[0, 0", "[0.5, 0"),
    ],
)  # fmt: skip
def test_a_damaged_verdict_counts_for_nothing(tmp_path: Path, cache: Path, decoded: list[int], text: str) -> None:
    listing = _listing(tmp_path)
    verified(listing, "raise")
    (verdict,) = cache.iterdir()
    verdict.write_text(text)
    verified(listing, "raise")
    assert len(decoded) == 12
    assert verdict.read_text() == WHOLE


def test_without_a_cache_folder_everything_is_decoded_each_time(
    tmp_path: Path, cache: Path, decoded: list[int]
) -> None:
    cache.write_text("not a folder")
    listing = _listing(tmp_path)
    for n in (6, 12):
        assert verified(listing, "raise") is listing
        assert len(decoded) == n


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    listing = _listing(tmp_path)
    listing.files[1].unlink()
    with pytest.raises(UnreadableError, match=rf"{listing.files[1]} cannot be decoded \(No such file or directory\)"):
        verified(listing, "raise")


def test_many_images_are_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "l2o_env")
    monkeypatch.setattr(verify, "MANY", 5)
    listing = _listing(tmp_path)
    verified(listing.take(range(5)), "raise")
    assert not caplog.messages
    for _ in range(2):
        verified(listing, "raise")
    assert caplog.messages == ["Looking at 6 source images once; the next start is quick."]


@pytest.mark.parametrize(
    ("spoil", "on_error", "told"),
    [
        (None, "pass", "Unknown on_error 'pass'"),
        (lambda path: path.write_text("x"), "skip", "6 of 6 source images cannot be used.* And 1 more"),
        (lambda path: path.write_text("x"), "raise", "it is no image, or of a format that Pillow does not know"),
    ],
)
def test_what_cannot_be_used_at_all(
    tmp_path: Path, spoil: Callable[[Path], None] | None, on_error: Any, told: str
) -> None:
    listing = _listing(tmp_path)
    for path in listing.files if spoil is not None else ():
        assert spoil is not None
        spoil(path)
    with pytest.raises(ConfigError, match=told):
        verified(listing, on_error)


def _masks(root: Path, values: list[list[int]]) -> Listing:
    """One mask of the given values, of the classes background and object."""
    save(np.zeros((len(values), len(values[0]), 3), np.uint8), root / "images" / "0.png")
    save(np.array(values, np.uint8), root / "masks" / "0.png")
    (root / "classes.txt").write_text("background\nobject")
    return list_masks(root, "source images")


def test_masks_that_cannot_be_meant_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match=r"is of 'object': .* Masks of 0 and 255 .* save them with 0 and 1"):
        verified(_masks(tmp_path / "a", [[0, 255]]), "raise")
    with pytest.raises(ConfigError, match=r"is of 'background', 'object'"):
        verified(_masks(tmp_path / "b", [[255, 255]]), "raise")
    with pytest.raises(ConfigError, match=r"is of 'object': .* Look at the values"):
        verified(_masks(tmp_path / "c", [[0, 0]]), "raise")
    caplog.set_level(logging.WARNING, "l2o_env")
    verified(_masks(tmp_path / "d", [[0, 1, 255, 255]]), "raise")
    assert not caplog.records
    verified(_masks(tmp_path / "e", [[0, 1, 255, 255, 255]]), "raise")
    assert [record.getMessage()[:49] for record in caplog.records] == [
        "60 % of the pixels of the source images are of no"
    ]
    verified(_masks(tmp_path / "e", [[0, 1, 255, 255, 255]]), "raise")  # the second time it is remembered
    assert len(caplog.records) == 2


def test_a_class_without_a_pixel_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "l2o_env")
    folder = mask_folders(tmp_path, n=3)
    with (folder / "classes.txt").open("a") as file:
        file.write("\nbird")
    verified(list_masks(folder, "source images"), "raise")
    assert "No pixel of the source images is of 'bird'; expected all 3 classes" in caplog.text


@pytest.mark.parametrize(("values", "fine"), [((0, 1, 8, 10, 13, 255), False), ((7, 8, 21, 23, 26), True)])
def test_train_ids_are_not_read_as_ids(tmp_path: Path, values: tuple[int, ...], fine: bool) -> None:
    image, mask = tmp_path / "image.png", tmp_path / "mask.png"
    save(np.zeros((1, len(values), 3), np.uint8), image)
    save(np.array([values], np.uint8), mask)
    listing = Listing([image], [mask], CITYSCAPES_CLASSES, None, LABEL_MAPS["ids"], "source images")
    if fine:
        assert verified(listing, "raise") is listing
        return
    with pytest.raises(ConfigError, match=r"no value above 18, as train ids do\. .*source_labels=train_ids"):
        verified(listing, "raise")


def test_where_none_can_be_used_skipping_is_no_advice(tmp_path: Path) -> None:
    listing = _listing(tmp_path)
    for file in listing.files:
        file.write_bytes(b"x")
    for on_error in ("raise", "skip"):
        with pytest.raises(UnreadableError, match=r"6 of 6 source images cannot be used\..*") as told:
            verified(listing, on_error)  # type: ignore[arg-type]
        assert "on_error=skip" not in str(told.value)
