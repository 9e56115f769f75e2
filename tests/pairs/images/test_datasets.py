"""Torchvision's data sets are read as they are, from the files that they are downloaded as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from l2o_env import ConfigError
from l2o_env.pairs.images.datasets import DIGIT_SETS, SETS, Part, read_digits, read_set, read_signs
from tests.dataset_files import write_digits, write_gtsrb


@pytest.mark.parametrize("name", DIGIT_SETS)
def test_digits_are_those_of_the_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_digits(name, tmp_path, monkeypatch)
    parts: tuple[Part, Part] = ("train", "test")
    for part in parts:
        found = read_digits(name, part, tmp_path, False, "images")
        np.testing.assert_array_equal(found.pixels, written[part][0])
        np.testing.assert_array_equal(found.labels, written[part][1])
        assert (found.pixels.dtype, found.labels.dtype) == (np.uint8, np.int64)
        assert found.classes == tuple("0123456789")


def test_signs_are_those_of_the_files(tmp_path: Path) -> None:
    write_gtsrb(tmp_path, (2, 10), tracks=2, frames=2, test_labels=(10, 42))
    train, test = (read_signs(part, tmp_path, False, "images") for part in ("train", "test"))  # type: ignore[arg-type]
    assert list(train.labels) == [2] * 4 + [10] * 4  # though only two folders are there
    assert train.groups == [
        f"{label}/{track}" for label in ("00002", "00010") for track in ("00000",) * 2 + ("00001",) * 2
    ]
    assert train[5][0].size == (20, 16)
    assert (list(test.labels), test.groups) == ([10, 42], None)
    assert train.classes == test.classes == tuple(map(str, range(43)))


def test_a_folder_that_is_no_sign_is_told(tmp_path: Path) -> None:
    write_gtsrb(tmp_path, (42, 43), tracks=1, frames=1, test_labels=())
    with pytest.raises(ConfigError, match=r"in the folders 00000 to 00042; remove \['00043'\]"):
        read_signs("train", tmp_path, False, "images")


@pytest.mark.parametrize("name", SETS)
def test_what_is_not_there_is_told(name: str, tmp_path: Path) -> None:
    told = rf"{name.upper()} cannot be had from {tmp_path} .*give root=FOLDER, or download=true"
    with pytest.raises(ConfigError, match=told):
        read_set(name, "train", tmp_path, False, "images")


def test_a_damaged_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_digits("mnist", tmp_path, monkeypatch)
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=rf"MNIST cannot be had from {tmp_path} "):
        read_set("mnist", "train", tmp_path, False, "images")


def test_a_download_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(datasets.MNIST, "download", no_network)
    with pytest.raises(ConfigError, match=r"no route to host\); check the network"):
        read_set("mnist", "train", tmp_path / "new", True, "images")
    with pytest.raises(ConfigError, match="download is 'yes'; expected true or false"):
        read_set("mnist", "train", tmp_path, "yes", "images")  # type: ignore[arg-type]
