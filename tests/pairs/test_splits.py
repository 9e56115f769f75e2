"""Splits in memory, and images of splits that are decoded on demand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from l2o_env.errors import ConfigError
from l2o_env.pairs.augmentation import Augmentation
from l2o_env.pairs.images.image_split import ImageSplit, Size
from l2o_env.pairs.images.labelled import Pixels
from l2o_env.pairs.splits import Split, as_split, decoded, images_of, in_memory

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
