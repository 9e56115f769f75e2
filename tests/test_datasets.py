"""Torchvision's data sets of digits as targets, in the files that they are downloaded as."""

from __future__ import annotations

import bz2
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat
from torchvision import datasets
from torchvision.transforms.v2 import functional

from l2o_env import ConfigError, pairs
from l2o_env.pairs import datasets as module
from l2o_env.pairs.base import Split
from l2o_env.pairs.glyphs import GlyphsConfig, make_glyphs
from l2o_env.pairs.proxy import ProxyTraining
from tests.image_trees import main_job
from tests.tiny import tiny_pair

LABELS = np.array([7, 2, 0, 9, 4], np.uint8)
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)


def _idx(array: NDArray[np.uint8], path: Path) -> None:
    """The format of MNIST's files."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.tobytes())


def _target(name: str, root: Path, **settings: int) -> Split:
    target = pairs.make(name, root=root, **settings).target
    assert isinstance(target, Split)
    assert target.images.shape[1:] == (3, 16, 16)
    assert (target.images.dtype, target.labels.dtype) == (torch.float32, torch.int64)
    return target


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded family has tests of its own; here its target alone is replaced."""
    monkeypatch.setattr(module, "make_glyphs", lambda name, config, **settings: tiny_pair(name=name))


def _trains_on(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The main job on the real digits of `root` and a few rendered ones, with a proxy of one epoch."""
    small = GlyphsConfig(proxy=ProxyTraining(epochs=1), n_train_per_class=8, n_validation_per_class=4)
    monkeypatch.setattr(module, "make_glyphs", lambda name, config, **settings: make_glyphs(name, small, **settings))
    assert main_job(root / "run", pairs.spec(name, root=root)) == 0
    found = pd.read_csv(root / "run" / "results.csv")["real_accuracy"] * len(LABELS)
    np.testing.assert_allclose(found, found.round(), atol=1e-5)  # of these very images
    assert (root / "run" / "actions.png").is_file()


def _expected(image: Image.Image) -> torch.Tensor:
    pixels = functional.pil_to_tensor(image.convert("RGB")).float() / 255
    return (functional.resize_image(pixels, [16, 16], antialias=True) - 0.5) / 0.5


def _mnist_files(folder: Path, prefix: str) -> None:
    for part in ("train", "t10k") if not prefix else ("test", "train"):
        stem = f"{prefix}{part}"
        _idx(PIXELS, folder / f"{stem}-images-idx3-ubyte")
        _idx(LABELS, folder / f"{stem}-labels-idx1-ubyte")


def test_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _mnist_files(tmp_path / "MNIST" / "raw", "")
    target = _target("glyphs-mnist", tmp_path)
    assert target.labels.tolist() == LABELS.tolist()
    torch.testing.assert_close(target.images[1], _expected(Image.fromarray(PIXELS[1])))
    few = _target("glyphs-mnist", tmp_path, n_target=2, seed=3)
    assert len(few) == 2
    assert torch.equal(few.images, _target("glyphs-mnist", tmp_path, n_target=2, seed=3).images)
    assert pairs.make("glyphs-mnist", root=tmp_path).name == "glyphs-mnist"
    _trains_on("glyphs-mnist", tmp_path, monkeypatch)


def test_emnist_is_turned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "EMNIST" / "raw"
    for split in ("byclass", "bymerge", "balanced", "letters", "digits", "mnist"):
        _mnist_files(folder, f"emnist-{split}-")
    target = _target("glyphs-emnist", tmp_path)
    torch.testing.assert_close(target.images[1], _expected(Image.fromarray(PIXELS[1].T)))
    _trains_on("glyphs-emnist", tmp_path, monkeypatch)


def test_usps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.round(np.random.default_rng(1).uniform(-1, 1, (5, 256)), 3)
    rows = [
        " ".join([str(label + 1), *(f"{k + 1}:{value}" for k, value in enumerate(row))])
        for label, row in zip(LABELS, values, strict=True)
    ]
    (tmp_path / "usps.t.bz2").write_bytes(bz2.compress("\n".join(rows).encode()))
    target = _target("glyphs-usps", tmp_path)
    assert target.labels.tolist() == LABELS.tolist()
    np.testing.assert_allclose(target.images[0, 2].numpy().reshape(-1), values[0], atol=0.01)
    _trains_on("glyphs-usps", tmp_path, monkeypatch)


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colours = np.random.default_rng(2).integers(0, 256, (32, 32, 3, 5), np.uint8)
    savemat(tmp_path / "test_32x32.mat", {"X": colours, "y": np.where(LABELS == 0, 10, LABELS)[:, None]})
    digest = hashlib.md5((tmp_path / "test_32x32.mat").read_bytes()).hexdigest()
    known = {**datasets.SVHN.split_list, "test": ["", "test_32x32.mat", digest]}
    monkeypatch.setattr(datasets.SVHN, "split_list", known)
    target = _target("glyphs-svhn", tmp_path)
    assert target.labels.tolist() == LABELS.tolist()
    torch.testing.assert_close(target.images[3], _expected(Image.fromarray(colours[..., 3])))
    _trains_on("glyphs-svhn", tmp_path, monkeypatch)


@pytest.mark.parametrize("name", ["glyphs-mnist", "glyphs-usps", "glyphs-svhn", "glyphs-emnist"])
def test_what_is_not_there_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"cannot be had from {tmp_path} .*give root=FOLDER, or download=true"):
        pairs.make(name, root=tmp_path)
    with pytest.raises(ConfigError, match="n_target is -1"):
        pairs.make(name, root=tmp_path, n_target=-1)


def test_a_download_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(datasets.MNIST, "download", no_network)
    with pytest.raises(ConfigError, match=r"no route to host\); check the network"):
        pairs.make("glyphs-mnist", root=tmp_path / "new", download=True)
