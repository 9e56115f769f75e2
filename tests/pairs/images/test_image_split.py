"""Images decoded on demand, pixel by pixel: their size, their crops, what is done to a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from l2o_env import ConfigError
from l2o_env.pairs.augmentation import Augmentation, Draws, recolour
from l2o_env.pairs.images.image_split import IMAGENET_MEAN, IMAGENET_STD, ImageSplit, Size, UnreadableError

PIXELS = np.random.default_rng(0).integers(1, 200, (5, 8, 3), dtype=np.uint8)
MASK = np.arange(40, dtype=np.uint8).reshape(5, 8)


def _applied(size: Size) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    image, mask = size.apply(Image.fromarray(PIXELS), Image.fromarray(MASK))
    return np.asarray(image), np.asarray(mask)


def test_a_crop_is_cut_from_the_centre() -> None:
    image, mask = _applied(Size(crop=3))
    np.testing.assert_array_equal(image, PIXELS[1:4, 2:5])
    np.testing.assert_array_equal(mask, MASK[1:4, 2:5])


def test_a_larger_crop_is_filled_with_black_that_counts_for_nothing() -> None:
    image, mask = _applied(Size(crop=11))  # 6 rows and 3 columns more, the larger halves below and at the right
    np.testing.assert_array_equal(image[3:8, 1:9], PIXELS)
    np.testing.assert_array_equal(mask[3:8, 1:9], MASK)
    mask, image = mask.copy(), image.copy()
    mask[3:8, 1:9], image[3:8, 1:9] = 255, 0
    assert (mask == 255).all() and not image.any()


def test_the_shorter_side_is_resized_and_masks_take_the_nearest_pixel() -> None:
    image, mask = _applied(Size(resize=10))
    assert image.shape == (10, 16, 3)
    np.testing.assert_array_equal(mask, MASK.repeat(2, 0).repeat(2, 1))
    assert len(np.unique(image)) > len(np.unique(PIXELS))  # images are interpolated
    assert _applied(Size())[0].shape == (5, 8, 3)
    for wrong in ({"resize": -1}, {"crop": 2.0}, {"crop": True}):
        with pytest.raises(ConfigError, match="expected a number of pixels, or 0 for none"):
            Size(**wrong)  # type: ignore[arg-type]


class _Two:
    """Two images and their masks."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[Image.Image, NDArray[np.uint8]]:
        return Image.fromarray(PIXELS[:, ::-1] if index else PIXELS), MASK


def test_each_image_of_a_batch_has_its_own_crop() -> None:
    split = ImageSplit(_Two(), None, Size(), Augmentation(2, (1.0, 2.0)))
    draws = Draws(np.array([1.0, 2.0]), np.array([[0.0, 1.0], [1.0, 0.0]]), np.zeros(2, np.bool_), np.ones((2, 3)))
    first, second = split.read(0, draws, 0), split.read(1, draws, 1)
    pixels = torch.from_numpy(PIXELS).permute(2, 0, 1)
    assert torch.equal(first.image, pixels[:, :2, 6:])
    assert torch.equal(first.label, torch.from_numpy(MASK[:2, 6:]))
    assert torch.equal(second.image, pixels[:, 4:, 7:].expand(3, 2, 2))  # one pixel, enlarged twice
    assert (second.label == MASK[4, 0]).all()
    centre = split.read(0)
    assert torch.equal(centre.image, pixels[:, 2:4, 3:5])
    assert torch.equal(centre.label, torch.from_numpy(MASK[2:4, 3:5]))
    assert (split.side, split.random, ImageSplit(_Two(), None, Size(crop=3)).side) == (2, True, 3)


def test_a_batch_is_recoloured_mirrored_and_normalised_as_for_imagenet() -> None:
    assert (IMAGENET_MEAN, IMAGENET_STD) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    split = ImageSplit(_Two(), None)
    images = torch.from_numpy(np.stack([PIXELS, PIXELS])).permute(0, 3, 1, 2)
    masks = torch.from_numpy(np.stack([MASK, MASK]))
    masks[:, 0, 0] = 255
    draws = Draws(np.ones(2), np.zeros((2, 2)), np.array([True, False]), np.array([[1.2, 0.8, 0.5], [1.0, 1.0, 1.0]]))
    found, labels = split.finish(images, masks, torch.float64, draws)
    mean, std = (torch.tensor(x, dtype=torch.float64)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
    coloured = recolour(images.double() / 255, draws)
    torch.testing.assert_close(found[0], ((coloured[0] - mean) / std).flip(-1))
    torch.testing.assert_close(found[1], (images[1].double() / 255 - mean) / std)
    expected = torch.from_numpy(MASK).long()
    expected[0, 0] = -100
    assert torch.equal(labels, torch.stack([expected.flip(-1), expected]))
    plain, _ = split.finish(images, masks, torch.float64)
    torch.testing.assert_close(plain[0], plain[1])


def test_a_mask_of_another_size_is_told() -> None:
    class Wrong(_Two):
        def __getitem__(self, index: int) -> tuple[Image.Image, NDArray[np.uint8]]:
            return Image.fromarray(PIXELS), MASK[:4]

    with pytest.raises(UnreadableError, match=r"Image 1 of the images is \(8, 5\) pixels, its mask \(8, 4\)"):
        ImageSplit(Wrong(), None).base(1)
    with pytest.raises(ConfigError, match="There are no pictures; expected at least one"):
        ImageSplit([], None, name="pictures")  # type: ignore[arg-type]
