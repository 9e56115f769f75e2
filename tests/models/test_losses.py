"""Losses of one label per image and of one per pixel."""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812

from l2o_env.models.base import new_generator
from l2o_env.models.losses import IGNORED, as_rows, task_loss

GENERATOR = new_generator(0)
IMAGES = torch.randn(5, 3, 6, 6, generator=GENERATOR, dtype=torch.float64)
MASKS = torch.randint(3, (5, 6, 6), generator=GENERATOR)
MASKS[:, 0] = IGNORED


def test_dense_losses_are_means_over_labelled_pixels() -> None:
    valid = MASKS != IGNORED
    expected = F.cross_entropy(IMAGES.movedim(1, -1)[valid], MASKS[valid])
    torch.testing.assert_close(task_loss(IMAGES, MASKS), expected)
    assert task_loss(IMAGES, torch.full_like(MASKS, IGNORED)) == 0
    labels = torch.tensor([0, 1, 2])
    assert torch.equal(task_loss(IMAGES[:3, :, 0, 0], labels), F.cross_entropy(IMAGES[:3, :, 0, 0], labels))
    assert torch.equal(as_rows(IMAGES)[7], IMAGES[0, :, 1, 1])
