"""Splits of images with one class each."""

from __future__ import annotations

import numpy as np
import pytest

from l2o_env.pairs.augmentation import Augmentation
from l2o_env.pairs.from_files.class_splits import plain_split, training_split
from l2o_env.pairs.from_files.settings import ImageSettings
from l2o_env.pairs.images.image_split import Size
from l2o_env.pairs.images.labelled import Pixels

IMAGES = Pixels(np.zeros((3, 8, 8), np.uint8), np.array([1, 0, 1]), ("a", "b"))


@pytest.mark.parametrize(
    ("settings", "plain", "training"),
    [
        (ImageSettings(size=6), Size(6, 6), Size(6, 6)),
        (ImageSettings(size=6, resize=7), Size(7, 6), Size(7, 6)),
        (ImageSettings(size=6, resize=7, random_crop=True), Size(7, 6), Size(7, 0)),
    ],
)
def test_only_training_images_are_augmented(settings: ImageSettings, plain: Size, training: Size) -> None:
    split = plain_split(settings, IMAGES, "photos")
    assert (split.size, split.augmentation, split.name) == (plain, Augmentation(), "photos")
    assert split.labels is not None and split.labels.tolist() == [1, 0, 1]
    split = training_split(settings, IMAGES)
    assert (split.size, split.augmentation, split.name) == (training, settings.augmentation(), "training images")
    assert split.augmentation.crop == (6 if settings.random_crop else 0)
    assert split.cache_bytes == 4 * 2**30
