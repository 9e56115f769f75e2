"""Augmentation: seeded, and pixel for pixel what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from l2o_env import ConfigError
from l2o_env.pairs.augmentation import VOID, Augmentation, Draws, crop, draw, mirrored, recolour

IMAGE = torch.arange(3 * 4 * 6, dtype=torch.uint8).reshape(3, 4, 6)
MASK = torch.arange(24, dtype=torch.uint8).reshape(4, 6)


def test_draws_depend_on_seed_and_update_alone() -> None:
    augmentation = Augmentation(8, (0.5, 1.0, 2.0), mirror=True, brightness=0.4)
    first, again = draw(augmentation, 64, 5, 3), draw(augmentation, 64, 5, 3)
    for key in ("scale", "place", "mirror", "colour"):
        np.testing.assert_array_equal(getattr(first, key), getattr(again, key))
        assert not np.array_equal(getattr(first, key), getattr(draw(augmentation, 64, 5, 4), key))
        assert not np.array_equal(getattr(first, key), getattr(draw(augmentation, 64, 6, 3), key))
    assert set(first.scale) == {0.5, 1.0, 2.0}
    assert 0.25 < first.mirror.mean() < 0.75
    assert 0.6 <= first.colour[:, 0].min() < 0.8 < 1.2 < first.colour[:, 0].max() <= 1.4
    assert (first.colour[:, 1:] == 1).all()
    assert not draw(Augmentation(8), 64, 5, 3).mirror.any()
    assert draw(augmentation, 20_000, 5, 3).mirror.mean() == pytest.approx(0.5, abs=0.02)
    colour = draw(Augmentation(brightness=0.4, contrast=0.4, saturation=0.2), 64, 5, 3).colour
    assert np.abs(np.corrcoef(colour.T) - np.eye(3)).max() < 0.4  # each is drawn by itself
    assert 0.8 <= colour[:, 2].min() < colour[:, 2].max() <= 1.2


def test_a_crop_is_cut_where_it_was_drawn() -> None:
    image, mask = crop(IMAGE, MASK, 2, 1.0, np.array([1.0, 0.5]))
    assert torch.equal(image, IMAGE[:, 2:, 2:4])
    assert torch.equal(mask, MASK[2:, 2:4])


def test_an_enlarged_crop_shows_less() -> None:
    image, mask = crop(IMAGE, MASK, 4, 2.0, np.array([0.0, 0.0]))
    assert torch.equal(mask, MASK[:2, :2].repeat_interleave(2, 0).repeat_interleave(2, 1))
    assert torch.equal(image, functional.resize_image(IMAGE[:, :2, :2], [4, 4]))
    image, mask = crop(IMAGE, MASK, 4, 1.5, np.array([1.0, 1.0]))  # 2.67 pixels are three
    assert torch.equal(image, functional.resize_image(IMAGE[:, 1:, 3:], [4, 4]))


def test_a_reduced_crop_shows_more_and_is_smooth() -> None:
    noise = torch.randint(256, (3, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image, _ = crop(noise, MASK, 2, 0.5, np.array([0.0, 1.0]))
    assert torch.equal(image, functional.resize_image(noise[:, :, 2:], [2, 2], antialias=True))
    assert not torch.equal(image, functional.resize_image(noise[:, :, 2:], [2, 2], antialias=False))


def test_what_an_image_lacks_counts_for_nothing() -> None:
    image, mask = crop(IMAGE, MASK, 6, 1.0, np.array([0.7, 0.7]))
    assert torch.equal(image[:, :4], IMAGE)
    assert not image[:, 4:].any()
    assert torch.equal(mask[:4], MASK)
    assert (mask[4:] == VOID).all()
    assert crop(IMAGE, None, 6, 1.0, np.zeros(2))[1] is None


def test_colours_change_as_torchvision_changes_them() -> None:
    images = torch.rand(3, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    colour = np.array([[1.2, 1.0, 1.0], [1.0, 0.7, 1.0], [1.1, 1.3, 0.5]])
    found = recolour(images, Draws(np.ones(3), np.zeros((3, 2)), np.zeros(3, bool), colour))
    for image, factors, mine in zip(images, colour, found, strict=True):
        image = functional.adjust_brightness(image, factors[0])
        image = functional.adjust_contrast(image, factors[1])
        torch.testing.assert_close(mine, functional.adjust_saturation(image, factors[2]))


def test_only_the_drawn_images_are_mirrored() -> None:
    draws = Draws(np.ones(2), np.zeros((2, 2)), np.array([False, True]), np.ones((2, 3)))
    batch = torch.stack([MASK, MASK])
    assert torch.equal(mirrored(batch, draws), torch.stack([MASK, MASK.flip(1)]))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"scales": ()}, "expected at least one factor above 0"),
        ({"scales": (0.5, 1.0)}, "without a crop"),
        ({"contrast": 1.5}, "contrast is 1.5; expected a number from 0 to 1"),
    ],
)
def test_what_cannot_work_is_told(settings: dict[str, float], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Augmentation(**settings)  # type: ignore[arg-type]
