"""Images are decoded to what a viewer shows."""

from __future__ import annotations

import struct
import zlib
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


@pytest.mark.parametrize(
    ("orientation", "corner"), [(1, 0), (2, 1), (3, 3), (4, 2), (5, 0), (6, 2), (7, 3), (8, 1), (99, 0)]
)
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


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@pytest.mark.parametrize(
    ("kind", "bits", "row", "more", "shown"),
    [
        (0, 1, bytes([0b01000000]), b"", [0, 255]),
        (0, 1, bytes([0b01000000]), _chunk(b"tRNS", bytes(2)), [255, 255]),
        (0, 4, bytes([0x2F]), b"", [34, 255]),
        (0, 8, bytes([10, 20]), _chunk(b"tRNS", bytes([0, 10])), [255, 20]),
        (0, 16, struct.pack(">2H", 25700, 51400), b"", [100, 200]),
        (0, 16, struct.pack(">2H", 25700, 51400), _chunk(b"tRNS", struct.pack(">H", 25700)), [255, 200]),
        (2, 16, struct.pack(">6H", *[25700] * 3, *[51400] * 3), b"", [100, 200]),
        (3, 8, bytes([0, 1]), _chunk(b"PLTE", bytes([10] * 3 + [20] * 3)), [10, 20]),
        (3, 8, bytes([0, 1]), _chunk(b"PLTE", bytes([10] * 3 + [20] * 3)) + _chunk(b"tRNS", b"\x00\xff"), [255, 20]),
        (4, 8, bytes([10, 0, 10, 255]), b"", [255, 10]),
        (4, 16, struct.pack(">4H", 25700, 0, 25700, 65535), b"", [255, 100]),
        (6, 16, struct.pack(">8H", *[25700] * 3, 0, *[25700] * 3, 65535), b"", [255, 100]),
    ],
)
@pytest.mark.parametrize("ending", ["png", "jpg"])  # whatever the file is called
def test_every_kind_of_png_is_shown(
    tmp_path: Path, kind: int, bits: int, row: bytes, more: bytes, shown: list[int], ending: str
) -> None:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, bits, kind, 0, 0, 0))
    content = header + more + _chunk(b"IDAT", zlib.compress(b"\0" + row)) + _chunk(b"IEND", b"")
    (tmp_path / f"a.{ending}").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    assert np.asarray(read_image(tmp_path / f"a.{ending}"))[0].tolist() == [[grey] * 3 for grey in shown]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_tiff_whose_zero_is_white(tmp_path: Path, kind: type[np.integer]) -> None:
    largest = np.iinfo(kind).max
    Image.fromarray(np.array([[0, largest]], kind)).save(tmp_path / "a.tif", tiffinfo={262: 0})
    stored = [255, 0] if kind is np.uint16 else [0, 255]  # Pillow turns 8 bits round when it writes them, too
    assert np.asarray(read_image(tmp_path / "a.tif"))[0, :, 0].tolist() == stored


@pytest.mark.parametrize("name", ["moving.gif", "moving.webp", "moving.png", "pages.tif", "stereo.jpg"])
def test_of_moving_pictures_the_first_counts(tmp_path: Path, name: str) -> None:
    first, second = (Image.fromarray(np.full((2, 2, 3), grey, np.uint8)) for grey in (255, 0))
    how = {"format": "MPO"} if name.endswith("jpg") else {}
    first.save(tmp_path / name, save_all=True, append_images=[second], **how)
    assert min(_corner(read_image(tmp_path / name))) >= 254


def test_masks_are_no_jpegs(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1, 2, 3]], np.uint8)).save(tmp_path / "a.png", format="JPEG")
    with pytest.raises(UnreadableError, match=r"a\.png is a JPEG, which changes values; save it as PNG"):
        read_mask(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no image"),
        (b"<!DOCTYPE html>", "no image"),  # what a failed download leaves
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "no image"),
        (b"\x89PNG\r\n\x1a\n", "cannot be decoded"),
        (b"GIF89a", "cannot be decoded"),
        (b"\xff\xd8\xff\xe0", "cannot be decoded"),
    ],
)
def test_what_is_no_image_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    for read in (read_image, read_mask):
        with pytest.raises(UnreadableError, match=told):
            read(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr"])
def test_other_ways_to_write_colours_are_read(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (2, 2), (255, 255, 255)).convert(mode).save(tmp_path / "white.tiff")
    assert min(_corner(read_image(tmp_path / "white.tiff"))) >= 254
