"""Rendered traffic signs to GTSRB, in its layout and through the whole main job."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from l2o_env import ConfigError, pairs
from l2o_env.models.base import check_layer_groups, new_generator
from l2o_env.pairs.images.datasets import read_signs
from l2o_env.pairs.rendered.signs_gtsrb import SignsConfig, divide_photographs
from l2o_env.pairs.splits import Split
from tests.dataset_files import write_gtsrb
from tests.image_trees import main_job

SMALL = {"n_train_per_class": 1, "n_validation_per_class": 1, "n_proxy_train": 20, "n_proxy_test": 6, "proxy_epochs": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs of two tracks each of 15 signs to train on, and 20 to test on."""
    root = tmp_path_factory.mktemp("gtsrb")
    return write_gtsrb(root, range(0, 43, 3), tracks=2, frames=2, test_labels=range(0, 40, 2))


def test_the_main_job_runs_on_it(root: Path, tmp_path: Path) -> None:
    assert main_job(tmp_path / "run", pairs.spec("signs-gtsrb", root=root, **SMALL)) == 0
    frame = pd.read_csv(tmp_path / "run" / "results.csv")
    assert frame["real_accuracy"].between(0, 1).all()
    assert frame["proxy_accuracy"].between(0, 1).all()


def test_its_splits(root: Path) -> None:
    pair = pairs.make("signs-gtsrb", root=root, **SMALL)
    for name, n in (("train", 43), ("validation", 43), ("target", 20), ("proxy_test", 6)):
        split = getattr(pair, name)
        assert isinstance(split, Split)
        assert split.images.shape == (n, 3, 32, 32)
        assert -1 <= split.images.min() < split.images.max() <= 1
    assert sorted(pair.target.labels.tolist()) == list(range(0, 40, 2))  # type: ignore[union-attr]
    assert set(pair.proxy_test.labels.tolist()) <= {0, 1, 2, 3}  # type: ignore[union-attr]
    assert len(pairs.make("signs-gtsrb", root=root, n_target=7, **SMALL).target or ()) == 7
    model = pair.make_model(new_generator(0))
    check_layer_groups(model)
    images = pair.train.images[:2]  # type: ignore[union-attr]
    torch.testing.assert_close(model(images)[1], pair.proxy(images))
    assert model(images)[0].shape == (2, 43)


def test_the_proxy_is_tested_on_signs_that_it_was_not_trained_on(root: Path) -> None:
    training = read_signs("train", root, False, "images")
    assert training.groups is not None
    groups, labels = np.array(training.groups), np.asarray(training.labels)
    pretraining, held_out = divide_photographs(training, SignsConfig(n_proxy_train=20, n_proxy_test=15))
    assert (len(pretraining), len(held_out)) == (20, 15)
    assert not set(groups[pretraining]) & set(groups[held_out])
    assert len(set(labels[pretraining])) == len(set(labels[held_out])) == 15


def test_what_cannot_work_is_told(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"GTSRB cannot be had from {tmp_path} .*give root=FOLDER, or download=true"):
        pairs.make("signs-gtsrb", root=tmp_path)
    with pytest.raises(ConfigError, match="n_proxy_train is 0; expected an integer >= 1"):
        pairs.make("signs-gtsrb", root=root, n_proxy_train=0)
    with pytest.raises(ConfigError, match="GTSRB has 60 training images here, and n_proxy_test is 500; expected fewer"):
        pairs.make("signs-gtsrb", root=root)
    with pytest.raises(ConfigError, match=r"'signs-gtsrb': 'n_targets'\. Did you mean 'n_target'"):
        pairs.make("signs-gtsrb", n_targets=3)
