"""Digits of any source and target in the embedded family's setting, and the presets of rendered digits to data sets."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from l2o_env import ConfigError, pairs
from l2o_env.pairs.images.datasets import DIGIT_SETS
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.rendered import digits
from l2o_env.pairs.splits import in_memory
from tests.dataset_files import Digits, write_digits
from tests.image_trees import main_job

FEW = {"n_train_per_class": 8, "n_validation_per_class": 4}


@pytest.fixture
def mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untrained: list[int]) -> dict[str, Digits]:
    """MNIST's files in ``tmp_path``, and proxies that are not trained."""
    return write_digits("mnist", tmp_path, monkeypatch)


def _make(root: Path, **settings: Any) -> Pair:
    return pairs.make("digits", root=root, **settings)


def _small(pixels: Any) -> Tensor:
    """An image as the network takes it, by way of Pillow."""
    found = functional.pil_to_tensor(Image.fromarray(pixels).convert("RGB")).float() / 255
    return (functional.resize_image(found, [16, 16], antialias=True) - 0.5) / 0.5


def _index(image: Tensor, small: Tensor) -> int:
    """Which of the images it is."""
    distance = (small - image).abs().amax((1, 2, 3))
    assert distance.min() < 1e-5
    return int(distance.argmin())


@pytest.mark.parametrize("name", DIGIT_SETS)
def test_rendered_digits_to_a_data_set(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untrained: list[int]
) -> None:
    pixels, labels = write_digits(name, tmp_path, monkeypatch)["test"]
    pair = pairs.make(f"glyphs-{name}", root=tmp_path, **FEW)
    target = in_memory(pair.target)
    assert pair.name == f"glyphs-{name}"
    assert (len(pair.train), len(pair.validation)) == (80, 40)
    assert target.labels.tolist() == labels.tolist()
    assert target.images.dtype == torch.float32
    torch.testing.assert_close(target.images, torch.stack([_small(p) for p in pixels]))
    same = _make(tmp_path, source="glyphs", target=name.upper(), **FEW)
    for split in ("train", "validation", "target", "proxy_test"):
        assert torch.equal(getattr(same, split).images, getattr(pair, split).images)


def test_the_default_is_glyphs_digits(untrained: list[int]) -> None:
    pair, same = pairs.make("digits", **FEW), pairs.make("glyphs-digits", **FEW)
    for split in ("train", "validation", "target", "proxy_test"):
        for field in ("images", "labels"):
            assert torch.equal(getattr(getattr(pair, split), field), getattr(getattr(same, split), field))
    assert torch.equal(in_memory(pair.target).masks, in_memory(same.target).masks)  # type: ignore[arg-type]
    assert len(untrained) == 1  # one proxy


def test_a_data_set_as_the_source(tmp_path: Path, mnist: dict[str, Digits]) -> None:
    pixels, labels = mnist["train"]
    small = torch.stack([_small(p) for p in pixels])
    pair = _make(tmp_path, source="MNIST", target=None, n_validation=10, n_train=0)
    train, validation = in_memory(pair.train), in_memory(pair.validation)
    parts = [[_index(image, small) for image in split.images] for split in (train, validation)]
    assert sorted(parts[0] + parts[1]) == list(range(40))
    assert labels[parts[0]].tolist() == train.labels.tolist()
    assert labels[parts[1]].tolist() == validation.labels.tolist()
    assert validation.labels.bincount().tolist() == [1] * 10
    assert pair.target is None
    few = _make(tmp_path, source="mnist", n_validation=10, n_train=20)
    assert in_memory(few.train).labels.bincount().tolist() == [2] * 10
    assert {_index(image, small) for image in in_memory(few.train).images} <= set(parts[0])
    assert torch.equal(in_memory(few.validation).images, validation.images)
    assert len(in_memory(few.target)) == 899
    other = _make(tmp_path, source="mnist", n_validation=10, n_train=20, seed=1)
    assert not torch.equal(in_memory(other.validation).images, validation.images)


def test_a_control_without_a_gap_and_fewer_target_images(tmp_path: Path, mnist: dict[str, Digits]) -> None:
    make = functools.partial(_make, tmp_path, source="mnist", n_validation=10)
    whole = in_memory(make(target="mnist").target)
    torch.testing.assert_close(whole.images, torch.stack([_small(p) for p in mnist["test"][0]]))
    few, again, other = (in_memory(make(target="mnist", n_target=10, seed=s).target) for s in (0, 0, 1))
    assert few.labels.bincount().tolist() == [1] * 10
    assert torch.equal(few.images, again.images)
    assert not torch.equal(few.images, other.images)
    uci, all_of_it = (in_memory(pairs.make("digits", n_target=n, **FEW).target) for n in (30, 0))
    where = [_index(image, all_of_it.images) for image in uci.images]
    assert len(set(where)) == 30
    assert uci.labels.tolist() == all_of_it.labels[where].tolist()
    assert torch.equal(uci.masks, all_of_it.masks[where])  # type: ignore[arg-type,index]


def test_many_images_are_scaled_in_parts(
    tmp_path: Path, mnist: dict[str, Digits], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = in_memory(_make(tmp_path, source="mnist", n_validation=10).train)
    monkeypatch.setattr(digits, "CHUNK", 7)
    torch.testing.assert_close(in_memory(_make(tmp_path, source="mnist", n_validation=10).train).images, whole.images)


@pytest.mark.parametrize("name", ["digits", "glyphs-svhn"])
def test_the_main_job_runs_on_it(
    name: str, tmp_path: Path, mnist: dict[str, Digits], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_digits("svhn", tmp_path, monkeypatch)
    settings = {"source": "mnist", "target": "svhn", "n_validation": 10} if name == "digits" else FEW
    spec = pairs.spec(name, root=tmp_path, **settings)
    assert main_job(tmp_path / "run", spec) == 0
    found = pd.read_csv(tmp_path / "run" / "results.csv")["real_accuracy"] * 20
    np.testing.assert_allclose(found, found.round(), atol=1e-5)  # of these very images
    assert (tmp_path / "run" / "actions.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"source": "minst"}, r"Unknown source of digits 'minst'\. Did you mean 'mnist'"),
        ({"source": 3}, "Unknown source of digits '3'"),
        ({"target": "glyphs"}, "Unknown target of digits 'glyphs'.*'uci'"),
        ({"source": "mnist", "n_train_per_class": 5}, r"where the source is 'mnist': 'n_train_per_class'\. Did you "
                                                      "mean 'n_train'"),
        ({"n_train": 5}, r"'digits', where the source is 'glyphs': 'n_train'\. Did you mean 'n_train_per_class'"),
        ({"n_targets": 5}, r"setting of the pair 'digits': 'n_targets'\. Did you mean 'n_target'"),
        ({"source": "mnist", "n_train": -1}, "n_train is -1; expected a number of images, or 0 for all"),
        ({"n_target": True}, "n_target is True; expected a number of images, or 0 for all"),
        ({"source": "mnist", "n_validation": 0}, "n_validation is 0; expected an integer >= 1"),
        ({"source": "mnist", "n_validation": 40}, r"n_validation is 40 .* there are 40 training images of mnist, and "
                                                  "one of each class is needed to train on"),
        ({"source": "usps"}, "USPS cannot be had from .*give root=FOLDER, or download=true"),
        ({"target": "usps"}, "USPS cannot be had from .*give root=FOLDER, or download=true"),
        ({"proxy_labels": "mod7"}, "Unknown proxy_labels 'mod7'"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_told(
    tmp_path: Path, mnist: dict[str, Digits], untrained: list[int], settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        _make(tmp_path, **settings)
    assert not untrained


def test_a_preset_has_its_source_and_target(tmp_path: Path) -> None:
    for key, value in (("source", "mnist"), ("target", "uci"), ("n_train", 3), ("n_validation", 3)):
        with pytest.raises(ConfigError, match=rf"Unknown setting of the pair 'glyphs-mnist'.*'{key}'"):
            pairs.make("glyphs-mnist", root=tmp_path, **{key: value})
    with pytest.raises(ConfigError, match="MNIST cannot be had from"):
        pairs.make("glyphs-mnist", root=tmp_path)
