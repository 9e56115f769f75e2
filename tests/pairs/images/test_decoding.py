"""Images are decoded to what a viewer shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from l2o_env.pairs.images.decoding import read_image, read_mask
from l2o_env.pairs.images.image_split import UnreadableError


def _corner(image: Image.Image) -> tuple[int, int, int]:
    """The colour in the left upper corner."""
    red, green, blue = np.asarray(image)[0, 0].tolist()
    return red, green, blue


@pytest.mark.parametrize(("orientation", "corner"), [(1, 0), (3, 3), (6, 2), (8, 1), (2, 1), (4, 2)])
@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_images_and_masks_are_turned_as_viewers_turn_them(
    tmp_path: Path, orientation: int, corner: int, ending: str
) -> None:
    values = np.array([[0, 1], [2, 3]], np.uint8)  # left above, right above, left below, right below
    exif = Image.Exif()
    exif[0x0112] = orientation
    for array, name in ((values * 80, "image"), (values, "mask")):
        Image.fromarray(array).save(tmp_path / f"{name}.{ending}", exif=exif)
    assert _corner(read_image(tmp_path / f"image.{ending}")) == (80 * corner,) * 3
    assert read_mask(tmp_path / f"mask.{ending}")[0, 0] == corner


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_16_bits_become_8(tmp_path: Path, ending: str) -> None:
    values = np.array([[0, 257, 257 * 191, 2**16 - 1]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"grey.{ending}")
    assert np.asarray(read_image(tmp_path / f"grey.{ending}"))[0, :, 0].tolist() == [0, 1, 191, 255]
    np.testing.assert_array_equal(read_mask(tmp_path / f"grey.{ending}"), values)  # label ids may be large


def test_pixels_whose_range_nobody_knows_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, 0.5]], np.float32)).save(tmp_path / "fractions.tiff")
    Image.fromarray(np.array([[0, 2**20]], np.int32)).save(tmp_path / "wide.tiff")
    with pytest.raises(UnreadableError, match=r"fractions\.tiff has fractions as pixels.*save it with 8 or 16 bits"):
        read_image(tmp_path / "fractions.tiff")
    with pytest.raises(UnreadableError, match=r"wide\.tiff has pixels of 32 bits"):
        read_image(tmp_path / "wide.tiff")
    with pytest.raises(UnreadableError, match=r"The mask .*fractions"):
        read_mask(tmp_path / "fractions.tiff")


def test_what_is_transparent_lies_on_white(tmp_path: Path) -> None:
    pixels = np.array([[[200, 0, 0, 0], [200, 0, 0, 255], [0, 0, 0, 51]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    assert np.asarray(read_image(tmp_path / "rgba.png"))[0].tolist() == [[255] * 3, [200, 0, 0], [204] * 3]
    Image.fromarray(np.array([[[10, 0], [10, 255]]], np.uint8), "LA").save(tmp_path / "grey.png")
    assert np.asarray(read_image(tmp_path / "grey.png"))[0].tolist() == [[255] * 3, [10] * 3]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([1, 2, 3, 4, 5, 6])
    palette.save(tmp_path / "palette.png", transparency=0)
    assert np.asarray(read_image(tmp_path / "palette.png"))[0].tolist() == [[255] * 3, [4, 5, 6]]
    assert read_mask(tmp_path / "palette.png").tolist() == [[0, 1]]
    key = Image.fromarray(np.array([[[9, 9, 9], [1, 2, 3]]], np.uint8))
    key.save(tmp_path / "key.png", transparency=(9, 9, 9))
    assert np.asarray(read_image(tmp_path / "key.png"))[0].tolist() == [[255] * 3, [1, 2, 3]]


def test_of_moving_pictures_the_first_counts(tmp_path: Path) -> None:
    first, second = (Image.fromarray(np.full((2, 2, 3), grey, np.uint8)) for grey in (255, 0))
    first.save(tmp_path / "moving.gif", save_all=True, append_images=[second])
    assert _corner(read_image(tmp_path / "moving.gif")) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr"])
def test_other_ways_to_write_colours_are_read(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (2, 2), (255, 255, 255)).convert(mode).save(tmp_path / "white.tiff")
    assert min(_corner(read_image(tmp_path / "white.tiff"))) >= 254
