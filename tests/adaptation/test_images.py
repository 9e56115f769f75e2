from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from l2o_env import pairs
from l2o_env.adaptation import METHODS, LabelledImages, UnlabelledImages
from l2o_env.errors import ConfigError
from l2o_env.models.base import new_generator
from l2o_env.pairs.splits import Split
from tests.adaptation.made import CPU, adaptation
from tests.image_trees import MicroNet, class_folders, save_weights
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
    with pytest.raises(ConfigError, match=r"Pair 'tiny' has no target images.*target=…"):
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
    batches = list(images.batches([torch.tensor([1, 2]), torch.tensor([], dtype=torch.int64)], seed=4))
    assert [tuple(batch.shape) for batch in batches] == [(2, *found.shape[1:]), (0, *found.shape[1:])]
