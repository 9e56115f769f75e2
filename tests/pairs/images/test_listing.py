"""Listings of image files, and how files are read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from l2o_env.errors import ConfigError
from l2o_env.pairs.images.folder_listings import list_classes, list_masks
from l2o_env.pairs.images.image_split import UnreadableError
from l2o_env.pairs.images.listing import existing_folder, read_columns, read_image, read_mask
from tests.image_trees import class_folders, mask_folders, save


def test_some_of_a_listing(tmp_path: Path) -> None:
    with_classes = list_classes(class_folders(tmp_path / "a", n=2), "a")
    for listing in (with_classes, list_masks(mask_folders(tmp_path / "b"), "b")):
        some = listing.take([3, 1])
        assert list(some.files) == [listing.files[3], listing.files[1]]
        for i, k in enumerate((3, 1)):
            np.testing.assert_array_equal(np.asarray(some[i][0]), np.asarray(listing[k][0]))
            np.testing.assert_array_equal(some[i][1], listing[k][1])
        assert (len(some), some.classes, some.dense) == (2, listing.classes, listing.dense)


def test_a_fingerprint_changes_with_the_files(tmp_path: Path) -> None:
    listing = list_masks(mask_folders(tmp_path, n=2), "photos")
    before = listing.fingerprint()
    assert listing.fingerprint() == before != listing.take([0]).fingerprint()
    os.utime(listing.labels[1], ns=(1, 1))
    assert listing.fingerprint() != before


def test_images_become_rgb_and_palettes_stay_indices(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 4), np.uint8)
    for name, array in (("grey", pixels[..., 0]), ("alpha", pixels)):
        image = read_image(save(array, tmp_path / f"{name}.png"))
        assert (image.mode, image.size) == ("RGB", (5, 4))
    palette = Image.fromarray(pixels[..., 0] % 3, "P")
    palette.putpalette([9, 9, 9, 7, 7, 7, 5, 5, 5])
    palette.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), pixels[..., 0] % 3)
    with pytest.raises(UnreadableError, match=r"The mask .*alpha\.png has 4 channels; expected one, of label ids"):
        read_mask(tmp_path / "alpha.png")


def test_a_mask_of_another_size_is_told(tmp_path: Path) -> None:
    folder = mask_folders(tmp_path, n=1)
    save(np.zeros((3, 2), np.uint8), folder / "masks" / "0.png")
    with pytest.raises(UnreadableError, match=r"0\.png has 20 x 16 pixels, but its mask .*0\.png has 2 x 3"):
        list_masks(folder, "photos")[0]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"text", "it is no image, or of a format that Pillow does not know"),
        (None, "No such file or directory"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    for read in (read_image, read_mask):
        with pytest.raises(UnreadableError, match=rf"{path} cannot be decoded \({told}\)"):
            read(path)


def test_columns_of_a_list(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a  1\n\nb\t2\n")
    assert read_columns(path, (2,)) == [["a", "1"], ["b", "2"]]
    for text, told in (("a\n", r"Row 1 of .* is 'a'; expected 2 or 3 columns"), ("\n", "is empty; expected one line")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=told):
            read_columns(path, (2, 3))
    with pytest.raises(ConfigError, match=r"There is no list .*none\.txt"):
        read_columns(tmp_path / "none.txt", (2,))


def test_a_folder_has_to_be_there(tmp_path: Path) -> None:
    assert existing_folder(str(tmp_path), "source") == tmp_path
    with pytest.raises(ConfigError, match=rf"source: there is no folder {tmp_path}/x; give the folder that holds"):
        existing_folder(tmp_path / "x", "source")
