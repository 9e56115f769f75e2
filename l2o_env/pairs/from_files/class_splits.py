"""Splits of images with one class each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from l2o_env.pairs.from_files.settings import ImageSettings
from l2o_env.pairs.images.image_split import ImageSplit, Size
from l2o_env.pairs.images.labelled import OneClassEach


def plain_split(settings: ImageSettings, images: OneClassEach, name: str) -> ImageSplit:
    """A split without augmentation, cut from the centre.

    Args:
        settings: Say how large the images are.
        images: The images.
        name: What messages call them.
    """
    labels = torch.as_tensor(np.asarray(images.labels))
    size = Size(settings.resize or settings.size, settings.size)
    mean, std = settings.mean, settings.std
    return ImageSplit(images, labels, size, mean=mean, std=std, cache_bytes=settings.cache_bytes, name=name)


def training_split(settings: ImageSettings, images: OneClassEach) -> ImageSplit:
    """The same with the settings' augmentation, whose crops are cut from more of the image than its centre."""
    split = plain_split(settings, images, "training images")
    size = Size(split.size.resize, 0 if settings.random_crop else settings.size)
    return replace(split, size=size, augmentation=settings.augmentation())
