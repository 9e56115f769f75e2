from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from l2o_env import pairs
from l2o_env.adaptation import METHODS, LabelledImages, TargetOracle, UnlabelledImages
from l2o_env.errors import ConfigError
from l2o_env.models.base import new_generator
from l2o_env.models.losses import IGNORED
from l2o_env.pairs.augmentation import Augmentation
from l2o_env.pairs.images.image_split import ImageSplit, Size
from l2o_env.pairs.splits import Split
from tests.adaptation.made import CPU, adaptation
from tests.image_trees import MicroNet, MicroSegNet, class_folders, mask_folders, save_weights
from tests.tiny import tiny_pair


@pytest.mark.parametrize("method", [name for name in METHODS if name != "adabn"])
def test_noise_for_the_targets_labels_gives_the_same_weights(method: str) -> None:
    pair = tiny_pair()
    assert isinstance(pair.target, Split)
    noise = torch.randint(3, pair.target.labels.shape, generator=new_generator(5))
    assert (noise != pair.target.labels).any()
    noisy = replace(pair, target=Split(pair.target.images, noise))
    runs = [adaptation(method, each) for each in (pair, noisy)]
    for run in runs:
        run.run_round()
        run.run_round()
    first, second = (run.state() for run in runs)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_pair_without_target_images_is_told() -> None:
    with pytest.raises(ConfigError, match=r"Pair 'tiny' has no labelled target images.*target=…"):
        UnlabelledImages.of(replace(tiny_pair(), target=None), CPU)


def test_images_of_folders_come_without_labels(tmp_path: Path) -> None:
    folders = {name: class_folders(tmp_path / name, seed=k) for k, name in enumerate(("source", "target"))}
    weights = save_weights(tmp_path / "weights.pt")
    pair = pairs.make("folders", **folders, backbone=MicroNet, weights=weights, size=12, n_validation=4)
    assert pair.target is not None
    images = UnlabelledImages.of(pair, CPU)
    found = torch.cat(list(images.chunks()))
    expected = torch.cat([batch for batch, _ in LabelledImages(pair.target, CPU).chunks()])
    assert len(images) == len(found) == 16
    torch.testing.assert_close(found, expected)
    order = [torch.tensor([1, 2]), torch.tensor([], dtype=torch.int64)]
    batches = [batch for batch, _ in images.batches(order, seed=4)]
    assert [tuple(batch.shape) for batch in batches] == [(2, *found.shape[1:]), (0, *found.shape[1:])]


def test_labels_of_pixels_move_with_the_images() -> None:
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 2, (4, 12, 12)).astype(np.uint8)
    samples = [(Image.fromarray(np.stack([255 * mask] * 3, -1)), 1 - mask) for mask in masks]  # true labels are others
    split = ImageSplit(samples, None, Size(crop=12))
    images = UnlabelledImages(split, CPU, Augmentation(crop=8, mirror=True))
    assert images.moved
    pseudo = torch.from_numpy(masks).long()
    pseudo[3] = IGNORED
    seen = 0
    for batch, labels in images.batches([torch.tensor([0, 1, 2, 3, 0, 1, 2])], 5, pseudo):
        assert labels is not None and batch.shape[-2:] == labels.shape[-2:] == (8, 8)
        kept = labels != IGNORED
        assert kept.reshape(7, -1).all(1).tolist() == [True, True, True, False, True, True, True]
        assert torch.equal((batch[:, 0] > 0)[kept], (labels == 1)[kept])
        seen += int((labels[0] != pseudo[0, :8, :8]).any())
    assert seen == 1
    assert next(images.chunks()).shape == (4, 3, 12, 12)  # predictions are of whole images


@pytest.mark.parametrize(("method", "told"), [("mrkld", False), ("lrent", True)])
def test_segmentation_of_ones_own_folders(method: str, told: bool, tmp_path: Path) -> None:
    for k, name in enumerate(("source", "target")):
        mask_folders(tmp_path / name, n=4, seed=k)
    weights = save_weights(tmp_path / "weights.pt", MicroSegNet())
    pair = pairs.make("folders", source=tmp_path / "source", target=tmp_path / "target", backbone=MicroSegNet,
                      weights=weights, size=12, random_crop=True, mirror=True, n_validation=1)  # fmt: skip
    run = adaptation(method, pair, portion=1.0)
    if told:
        with pytest.raises(ConfigError, match="'lrent' has soft labels of pixels"):
            run.run_round()
        return
    found = run.run_round()
    assert found.pseudo is not None and found.pseudo.shape == (4, 16, 20)
    assert 0 <= TargetOracle(pair, CPU).accuracy(found.probabilities) <= 1
