"""Streams: images decoded on demand, the same batch for the same seed and update, whoever asks and when."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from l2o_env import ConfigError
from l2o_env.inner.feed import Feed, chunk_size
from l2o_env.pairs.augmentation import Augmentation
from l2o_env.pairs.images.image_split import IMAGENET_MEAN, IMAGENET_STD, ImageSplit, Size
from tests.image_trees import class_folders

N = 12
CPU = torch.device("cpu")
RANDOM = Augmentation(8, (0.75, 1.0), mirror=True, saturation=0.5)


class Pictures:
    """A map-style source that counts what is read."""

    def __init__(self, n: int = N, width: int = 10) -> None:
        self.n, self.width, self.reads = n, width, 0
        self.pixels = np.random.default_rng(0).integers(0, 256, (n, 10, 24, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        self.reads += 1
        return Image.fromarray(self.pixels[index, :, : self.width + index % 2]), index % 3


def _split(augmentation: Augmentation | None = None, **settings: int) -> ImageSplit:
    crop = 0 if augmentation else 8
    return ImageSplit(Pictures(), torch.arange(N) % 3, Size(0, crop), augmentation or Augmentation(), **settings)  # type: ignore[arg-type]


def _feed(split: ImageSplit, seeds: tuple[int, ...] = (1, 2)) -> Feed:
    feed = Feed(split, CPU, torch.float32)
    for seed in seeds:
        order = torch.stack([torch.arange(4 * u, 4 * u + 4) % N for u in range(6)])
        feed.begin(seed, order)
    return feed


def test_images_come_in_their_size_and_normalised() -> None:
    split = _split()
    images, labels = _feed(split).batch(1, 1)
    pixels = torch.from_numpy(split.samples.pixels[4:8, 1:9, 1:9]).permute(0, 3, 1, 2) / 255  # type: ignore[attr-defined]
    mean, std = (torch.tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close(images[::2], ((pixels - mean) / std)[::2])  # even ones are 10 wide
    assert labels.tolist() == [1, 2, 0, 1]
    assert labels.dtype == torch.int64


def test_a_batch_is_known_by_seed_and_update() -> None:
    state = torch.get_rng_state(), np.random.get_state()[1].tolist()
    straight = _feed(_split(RANDOM))
    expected = {(s, u): straight.batch(s, u) for s in (1, 2) for u in range(6)}
    other = _feed(_split(RANDOM))
    for key in [(2, 5), (1, 0), (1, 1), (2, 0), (1, 4), (1, 0), (2, 5)]:
        for mine, theirs in zip(other.batch(*key), expected[key], strict=True):
            assert torch.equal(mine, theirs), key
    assert not torch.equal(expected[1, 0][0], expected[2, 0][0])
    assert not torch.equal(expected[1, 0][0], expected[1, 3][0])  # the same images, other crops
    assert expected[1, 0][0].shape == (4, 3, 8, 8)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.random.get_state()[1].tolist() == state[1]


def test_a_shared_batch_is_made_once_and_forgotten_with_its_seed() -> None:
    split = _split(RANDOM)
    feed = _feed(split)
    assert feed.batch(1, 0)[0] is feed.batch(1, 0)[0]
    feed.keep([2])
    assert (list(feed._orders), list(feed._current), list(feed._ahead)) == ([2], [], [])


def test_parts_are_all_images_in_order() -> None:
    split = _split()
    split.name = "pictures"
    found = list(Feed(split, CPU, torch.float64).chunks())
    assert [part for part, _, _ in found] == [slice(0, N)]
    assert torch.cat([labels for _, _, labels in found]).tolist() == (torch.arange(N) % 3).tolist()
    assert found[0][1].dtype == torch.float64
    assert chunk_size(split) == 200
    assert chunk_size(ImageSplit(Pictures(), None, Size(0, 512))) == 6
    native = ImageSplit(Pictures(), torch.arange(N) % 3)
    assert [tuple(images.shape) for _, images, _ in Feed(native, CPU, torch.float32).chunks()][:2] == [
        (1, 3, 10, 10), (1, 3, 10, 11),
    ]  # fmt: skip


def test_images_of_several_sizes_are_no_batch() -> None:
    feed = _feed(ImageSplit(Pictures(), None, Size(), Augmentation(mirror=True), name="training images"))
    with pytest.raises(ConfigError, match=r"The training images differ in size \(10 x 10, 11 x 10 pixels\)"):
        feed.batch(1, 0)


def test_the_cache_holds_what_fits() -> None:
    for n_bytes, reads in ((10**6, 3 * N), (5 * 3 * 8 * 8 + 5 * 8, 3 * N)):
        split = _split(cache_bytes=n_bytes)
        for _ in range(3):
            for i in range(N):
                split.base(i)
        kept = min(N, n_bytes // (3 * 8 * 8 + 8))
        assert split.samples.reads == reads - 2 * kept  # type: ignore[attr-defined]


def test_masks_go_with_their_images(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 255], [1, 1, 0], [255, 0, 1]], np.uint8)

    class Masks(Pictures):
        def __getitem__(self, index: int) -> tuple[Image.Image, np.ndarray]:  # type: ignore[override]
            return Image.fromarray(np.repeat(mask[..., None], 3, 2)), mask

    feed = _feed(ImageSplit(Masks(), None, Size(), Augmentation(mirror=True)), (4,))
    images, labels = feed.batch(4, 0)
    grey = (images[:, 0] * IMAGENET_STD[0] + IMAGENET_MEAN[0]) * 255
    expected = torch.where(labels == -100, 255, labels)
    torch.testing.assert_close(grey, expected.float(), atol=1e-3, rtol=0)
    assert len({tuple(row.flatten().tolist()) for row in labels}) == 2  # some mirrored, some not


def test_a_torchvision_dataset_is_a_source(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    found = ImageFolder(str(class_folders(tmp_path / "a", n=2)))
    split = ImageSplit(found, torch.tensor(found.targets), Size(8, 8))
    assert split.base(3).image.shape == (3, 8, 8)
    assert split.base(3).label == 1
    half = split.subset([1, 3], name="half")
    assert torch.equal(half.base(1).image, split.base(3).image)
    assert half.labels is not None
    assert half.labels.tolist() == [0, 1]
