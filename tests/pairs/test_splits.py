"""Splits in memory, and images of splits that are decoded on demand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from l2o_env.errors import ConfigError
from l2o_env.pairs.augmentation import Augmentation
from l2o_env.pairs.images.image_split import ImageSplit, Size
from l2o_env.pairs.images.labelled import Pixels
from l2o_env.pairs.splits import Split, as_split, check_images, decoded, images_of, in_memory

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3), np.uint8)
LABELS = np.array([2, 0, 1, 2])


@pytest.fixture
def streamed() -> ImageSplit:
    """Four images, of which training would take random crops."""
    samples = Pixels(PIXELS, LABELS, ("a", "b", "c"))
    return ImageSplit(samples, torch.from_numpy(LABELS), Size(), Augmentation(4, mirror=True))


def test_images_in_0_to_1_become_channels_in_minus_1_to_1() -> None:
    split = as_split(PIXELS.astype(np.float32) / 255, LABELS.astype(np.int32))
    assert (split.images.dtype, split.labels.dtype, len(split)) == (torch.float32, torch.int64, 4)
    assert split.images.is_contiguous()
    np.testing.assert_allclose(split.images.numpy(), PIXELS.transpose(0, 3, 1, 2) / 127.5 - 1, atol=1e-6)


def test_images_are_decoded_without_augmentation(streamed: ImageSplit) -> None:
    split = decoded(streamed, [3, 1])
    assert split.labels.tolist() == [2, 0]
    assert torch.equal(split.images, images_of(streamed, [3, 1]))
    normalised = torch.stack([torch.from_numpy(PIXELS[i, 1:5, 1:5]).permute(2, 0, 1) / 255 for i in (3, 1)])
    mean, std = (torch.tensor(values)[:, None, None] for values in (streamed.mean, streamed.std))
    torch.testing.assert_close(split.images, (normalised - mean) / std)  # cut from the centre


def test_images_in_memory_are_as_they_are() -> None:
    split = Split(torch.arange(24.0).reshape(2, 3, 2, 2), torch.tensor([0, 1]))
    assert in_memory(split) is split
    assert torch.equal(images_of(split, [1]), split.images[1:])


def test_what_needs_images_in_memory_says_so(streamed: ImageSplit) -> None:
    for split in (streamed, None):
        with pytest.raises(ConfigError, match="needs a pair whose images are in memory, such as 'glyphs-digits'"):
            in_memory(split)


IMAGES = torch.arange(4 * 3 * 2 * 2, dtype=torch.float32).reshape(4, 3, 2, 2)
CLASSES = torch.tensor([0, 1, 2, 1])


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        (IMAGES[:0], CLASSES[:0], "There are no images"),
        (IMAGES, torch.tensor([0, 3, 1, -1]), "2 labels of the images are none of its 3 classes: -1, 3; .*0 to 2"),
        (IMAGES, torch.tensor([0, -100, 1, 2]), "1 labels of the images are none"),
        (IMAGES, CLASSES.int(), "labels of the images are torch.int32 of shape .4,.; expected torch.int64"),
        (IMAGES, CLASSES.float(), "labels of the images are torch.float32"),
        (IMAGES, torch.eye(3)[CLASSES].long(), r"of shape \(4, 3\); expected"),
        (IMAGES.byte(), CLASSES, "images are torch.uint8 .*expected torch.float32"),
        (IMAGES[:, 0], CLASSES, r"images are torch.float32 of shape \(4, 2, 2\); expected"),
        (IMAGES[:3], CLASSES, r"images are of shape \(3, 3, 2, 2\), their labels of \(4,\)"),
        (IMAGES, torch.zeros(4, 2, 3, dtype=torch.int64), r"their labels of \(4, 2, 3\)"),
        (IMAGES, torch.full((4, 2, 2), 3), "16 labels .*0 to 2, or -100 for pixels without a class"),
        (IMAGES, torch.full((4, 2, 2), -100), "No pixel of the images has a class"),
        (IMAGES.clone().index_fill_(0, torch.tensor(2), torch.nan), CLASSES, "1 of the 4 images .* number 2;"),
        (IMAGES.clone().index_fill_(0, torch.tensor(1), -torch.inf), CLASSES, "1 of the 4 images hold NaN or infinity"),
    ],
)
def test_images_that_cannot_be_trained_on_are_told(images: torch.Tensor, labels: torch.Tensor, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        check_images(Split(images, labels), 3, "images")


def test_images_that_can_be_trained_on_pass(streamed: ImageSplit) -> None:
    check_images(Split(IMAGES, CLASSES), 3, "images")
    check_images(Split(IMAGES * 1e36, CLASSES), 3, "images")  # whose sum alone is infinite
    check_images(Split(IMAGES, torch.tensor([0, 1, 2, -100])[:, None, None].expand(4, 2, 2)), 3, "images")
    check_images(streamed, 3, "images")
    with pytest.raises(ConfigError, match="2 labels of the images are none of its 2 classes: 2;"):
        check_images(streamed, 2, "images")
