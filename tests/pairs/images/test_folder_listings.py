"""Folders of one's own: one for each class, or images with masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from l2o_env.errors import ConfigError
from l2o_env.pairs.images.folder_listings import is_dense, list_classes, list_masks
from tests.image_trees import class_folders, mask_folders


def test_folders_of_classes(tmp_path: Path) -> None:
    listing = list_classes(class_folders(tmp_path, n=2), "photos")
    assert [str(file.relative_to(tmp_path)) for file in listing.files] == [
        "cat/000.png", "cat/001.png", "dog/000.png", "dog/001.png",
    ]  # fmt: skip
    assert np.asarray(listing.labels).tolist() == [0, 0, 1, 1]
    assert (listing.classes, listing.name) == (("cat", "dog"), "photos")
    assert not listing.dense and not is_dense(tmp_path)


def test_images_with_masks_in_the_order_of_other_classes(tmp_path: Path) -> None:
    folder = mask_folders(tmp_path, n=3, classes=("cat", "dog", "ox"))
    assert is_dense(folder)
    own, turned = (list_masks(folder, "photos", order) for order in (None, ("ox", "cat", "dog")))
    assert (own.classes, turned.classes, own.dense) == (("cat", "dog", "ox"), ("ox", "cat", "dog"), True)
    for i in range(3):
        mask, other = own[i][1], turned[i][1]
        np.testing.assert_array_equal(np.array([1, 2, 0] + [255] * 253, np.uint8)[mask], other)
    assert list_masks(folder, "photos", ("cat", "dog")).classes == own.classes  # of others, its own order stays


def _no_classes(folder: Path) -> None:
    (folder / "images").rename(folder / "pictures")


def _no_mask(folder: Path) -> None:
    (folder / "masks" / "1.png").unlink()


def _no_images(folder: Path) -> None:
    for file in (folder / "images").iterdir():
        file.unlink()


def _twice(folder: Path) -> None:
    (folder / "classes.txt").write_text("cat\ncat\n")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_no_classes, "has no folders images and masks; expected them, as the source has them"),
        (_no_mask, r"1 masks are not there, such as .*masks/1\.png; expected images/NAME\.\* and masks/NAME\.png"),
        (_no_images, "there are no images; expected images/NAME"),
        (_twice, r"classes\.txt names a class twice; expected one name per line"),
    ],
)
def test_masks_that_cannot_be_listed_are_told(tmp_path: Path, spoil: object, told: str) -> None:
    folder = mask_folders(tmp_path, n=2)
    assert callable(spoil)
    spoil(folder)
    with pytest.raises(ConfigError, match=told):
        list_masks(folder, "photos")


def test_folders_that_cannot_be_listed_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^{tmp_path} has no folders of classes\. Expected one folder per"):
        list_classes(tmp_path, "photos")
    class_folders(tmp_path, n=1)
    (tmp_path / "bird").mkdir()
    with pytest.raises(ConfigError, match=r"there are no images in the folder 'bird'\. Expected one folder per class"):
        list_classes(tmp_path, "photos")
