"""What lies in folders: classes, images, what systems leave there, copies and links."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from l2o_env.errors import ConfigError
from l2o_env.pairs.images import folders
from l2o_env.pairs.images.folder_listings import list_classes, list_masks, warn_of_shared
from l2o_env.pairs.images.folders import copies
from l2o_env.pairs.images.held_out import hold_out
from tests.image_trees import class_folders, mask_folders


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of four images."""
    return class_folders(tmp_path / "images", n=4)


@pytest.mark.parametrize(
    "name",
    [
        ".ipynb_checkpoints", ".git", ".thumbnails", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information",
        "lost+found", "__pycache__", ".Trash-1000",
    ],
)  # fmt: skip
def test_folders_of_systems_are_no_classes_and_hold_no_images(root: Path, name: str) -> None:
    for place in (root / name, root / "cat" / name):
        shutil.copytree(root / "dog", place)
    listing = list_classes(root, "images")
    assert listing.classes == ("cat", "dog") and len(listing) == 8


def test_hidden_files_are_no_images(root: Path) -> None:
    for name in ("._000.png", ".DS_Store", "~$a.png"):
        (root / "cat" / name).write_bytes(b"x")
    assert len(list_classes(root, "images")) == 8
    masks = mask_folders(root.parent / "masks", n=2)
    (masks / "images" / "._0.png").write_bytes(b"x")
    assert len(list_masks(masks, "images")) == 2


def test_files_of_other_kinds_are_counted(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "l2o_env")
    for name in ("a.heic", "b.HEIC", "c.exr", "labels.txt", "Thumbs.db", "notes"):
        (root / "cat" / name).write_bytes(b"x")
    assert len(list_classes(root, "images")) == 8
    assert "their endings are not of images: 2 .heic, 1 .exr. Known are .jpg" in caplog.text
    assert len(caplog.records) == 1


def test_endings_of_images_are_known(root: Path) -> None:
    for k, name in enumerate(("a.JPG", "b.jfif", "c.TIFF", "d.gif", "e.pgm", "f.avif")):
        (root / "cat" / name).write_bytes(bytes([k]) * (k + 1))
    assert len(list_classes(root, "images")) == 14


def test_images_lie_in_folders_of_folders_too(root: Path) -> None:
    (root / "cat" / "more" / "yet").mkdir(parents=True)
    (root / "cat" / "000.png").rename(root / "cat" / "more" / "yet" / "000.png")
    assert len(list_classes(root, "images")) == 8


def test_a_link_to_a_folder_above_ends(root: Path) -> None:
    (root / "cat" / "up").symlink_to(root / "cat")
    assert len(list_classes(root, "images")) == 8


@pytest.mark.parametrize("how", [shutil.copy, os.link, os.symlink])
def test_copies_and_links_stay_on_one_side(root: Path, how: object, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "l2o_env")
    assert callable(how)
    for name in ("000", "001", "002"):
        how(root / "cat" / f"{name}.png", root / "cat" / f"{name} (copy).png")
    listing = list_classes(root, "source images")
    assert "3 of the source images are copies of others" in caplog.text
    for seed in range(20):
        train, held_out = hold_out(np.asarray(listing.labels), listing.groups, 3, seed, "source images")
        contents = [{listing.files[i].read_bytes() for i in side} for side in (train, held_out)]
        assert not contents[0] & contents[1]


def test_an_image_in_two_classes_is_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "l2o_env")
    shutil.copy(root / "cat" / "000.png", root / "dog" / "cat.png")
    list_classes(root, "images")
    assert "1 of the images are in two classes" in caplog.text


def test_without_copies_every_image_stands_alone(root: Path) -> None:
    assert list_classes(root, "images").groups is None
    (root / "cat" / "same size.png").write_bytes(bytes(len((root / "cat" / "000.png").read_bytes())))
    assert copies(sorted(root.rglob("*.png"))) is None


@pytest.mark.parametrize(
    "parts", [("train", "val"), ("Training", "testing"), ("train", "validation", "test"), ("val",)]
)
def test_parts_of_a_data_set_are_no_classes(tmp_path: Path, parts: tuple[str, ...]) -> None:
    for part in parts:
        class_folders(tmp_path / part, n=1)
    with pytest.raises(ConfigError, match=r"parts of a data set, no classes\. Give one of them, such as .*/[Tv]?"):
        list_classes(tmp_path, "images")
    class_folders(tmp_path, n=1, classes=("train", "truck"))  # which may be classes
    shutil.copytree(tmp_path / "truck", tmp_path / "bus")
    assert {"bus", "truck"} <= set(list_classes(tmp_path, "images").classes)


def test_one_class_alone_is_none_to_tell_apart(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"one class alone, 'images'; .* If it holds the classes, give .*images\."):
        list_classes(root.parent, "images")


def test_names_are_the_same_however_a_system_writes_them(root: Path) -> None:
    (root / "cat").rename(root / "cafe\u0301")
    assert list_classes(root, "images").classes == ("caf\u00e9", "dog")
    shutil.copytree(root / "dog", root / "caf\u00e9")
    with pytest.raises(ConfigError, match="two folders whose names are the same letters"):
        list_classes(root, "images")
    masks = mask_folders(root.parent / "masks", n=2, classes=("cafe\u0301", "dog"))
    assert list_masks(masks, "images").classes == ("caf\u00e9", "dog")


def test_images_beside_masks_are_counted_and_have_one_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "l2o_env")
    root = mask_folders(tmp_path, n=2)
    (root / "images" / "2.heic").write_bytes(b"x")
    assert len(list_masks(root, "images")) == 2
    assert "their endings are not of images: 1 .heic" in caplog.text
    shutil.copy(root / "images" / "0.png", root / "images" / "0.bmp")
    with pytest.raises(ConfigError, match=r"0\.bmp and 0\.png have one mask"):
        list_masks(root, "images")


@pytest.mark.parametrize("how", [shutil.copy, os.link, os.symlink])
def test_target_images_that_are_trained_on_are_told(root: Path, how: object, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "l2o_env")
    assert callable(how)
    other = class_folders(root.parent / "other", n=3, seed=1)
    source = list_classes(root, "source images")
    warn_of_shared(source, list_classes(other, "target images"))
    assert not caplog.messages
    how(root / "dog" / "001.png", other / "dog" / "new.png")
    warn_of_shared(source, list_classes(other, "target images"))
    assert "1 of the 7 target images are among the source images too, such as" in caplog.text


def test_files_are_read_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2O_ENV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(folders, "_MANY_BYTES", 0)
    shutil.copy(root / "cat" / "000.png", root / "cat" / "again.png")
    files = sorted(root.rglob("*.png"))
    found = copies(files)
    assert (
        found is not None and found[files.index(root / "cat" / "again.png")] == found[files.index(root / "cat/000.png")]
    )
    with monkeypatch.context() as patch:  # of the cache folder, as a later process would
        patch.setattr(folders, "_content", None)
        assert copies(files) == found
    (kept,) = (tmp_path / "cache").glob("copies-*.json")
    for damaged in ("", "[]", "{}", '["0", 1]'):
        kept.write_text(damaged)
        assert copies(files) == found
    os.utime(files[0], ns=(1, 1))
    assert copies(files) == found
    assert len(list((tmp_path / "cache").glob("copies-*.json"))) == 2
