"""Torchvision's data sets in the very files that they are downloaded as, tiny and made up."""

from __future__ import annotations

import bz2
import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat
from torchvision import datasets

from tests.image_trees import picture, save

Digits = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Pixels ``(n, height, width)`` or ``(n, height, width, 3)`` and labels ``(n,)``."""
SHAPES = {"mnist": (28, 28), "emnist": (28, 28), "usps": (16, 16), "svhn": (32, 32, 3)}


def write_digits(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Digits]:
    """Writes 40 training images and 20 test images of a data set of digits, and says what they are."""
    data = {part: _noise(n, SHAPES[name], n) for part, n in (("train", 40), ("test", 20))}
    if name == "usps":
        _write_usps(root, data)
    elif name == "svhn":
        _write_svhn(root, data, monkeypatch)
    else:
        _write_mnist(name, root, data)
    return data


def _noise(n: int, shape: tuple[int, ...], seed: int) -> Digits:
    """Noise of as many images of each digit, in random order."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, *shape), np.uint8), rng.permutation(np.arange(n, dtype=np.uint8) % 10)


def _write_mnist(name: str, root: Path, data: dict[str, Digits]) -> None:
    """Files of MNIST, or of EMNIST, whose images are turned."""
    for part, (pixels, labels) in data.items():
        if name == "emnist":
            folder, stem, pixels = root / "EMNIST" / "raw", f"emnist-digits-{part}", pixels.transpose(0, 2, 1)
        else:
            folder, stem = root / "MNIST" / "raw", {"train": "train", "test": "t10k"}[part]
        _write_idx(pixels, folder / f"{stem}-images-idx3-ubyte")
        _write_idx(labels, folder / f"{stem}-labels-idx1-ubyte")


def _write_idx(array: NDArray[np.uint8], path: Path) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.tobytes())


def _write_usps(root: Path, data: dict[str, Digits]) -> None:
    for part, file in (("train", "usps.bz2"), ("test", "usps.t.bz2")):
        pixels, labels = data[part]
        values = (pixels.reshape(len(pixels), -1) + 0.25) / 255 * 2 - 1  # bytes are made of them by rounding down
        rows = [
            " ".join([str(label + 1), *(f"{k + 1}:{value:.5f}" for k, value in enumerate(row))])
            for label, row in zip(labels, values, strict=True)
        ]
        (root / file).write_bytes(bz2.compress("\n".join(rows).encode()))


def _write_svhn(root: Path, data: dict[str, Digits], monkeypatch: pytest.MonkeyPatch) -> None:
    known = dict(datasets.SVHN.split_list)
    for part, (pixels, labels) in data.items():
        file = root / f"{part}_32x32.mat"
        savemat(file, {"X": pixels.transpose(1, 2, 3, 0), "y": np.where(labels == 0, 10, labels)[:, None]})
        known[part] = ["", file.name, hashlib.md5(file.read_bytes()).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", known)


def write_gtsrb(root: Path, labels: Iterable[int], tracks: int, frames: int, test_labels: Iterable[int]) -> Path:
    """Writes photographs to train on, so many frames of so many tracks for each label, and one for each test label."""
    rng = np.random.default_rng(0)
    for label in labels:
        for track in range(tracks):
            for frame in range(frames):
                name = f"{label:05d}/{track:05d}_{frame:05d}.ppm"
                save(picture(label, rng), root / "gtsrb/GTSRB/Training" / name)
    rows = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for i, label in enumerate(test_labels):
        save(picture(label, rng, (30, 28)), root / f"gtsrb/GTSRB/Final_Test/Images/{i:05d}.ppm")
        rows.append(f"{i:05d}.ppm;30;28;5;5;24;24;{label}")
    (root / "gtsrb" / "GT-final_test.csv").write_text("\n".join(rows) + "\n")
    return root
