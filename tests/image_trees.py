"""Tiny image data in the layouts that real data sets have, and a micro network with weights in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

CLASSES = ("cat", "dog")


class MicroNet(nn.Module):
    """A network of one's own: images to five proxy classes, with batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        self.fc = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, 5)``."""
        return self.fc(self.body(self.stem(images)).mean((-2, -1)))


class MicroSegNet(nn.Module):
    """A segmentation network of one's own: images to five proxy classes per pixel, as torchvision's return them."""

    def __init__(self, n_classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.classifier = nn.Conv2d(8, n_classes, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits ``(batch, n_classes, h, w)`` under ``"out"``."""
        logits = self.classifier(self.body(self.stem(images)))
        return {"out": F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)}


def two_groups(network: nn.Module) -> dict[str, list[str]]:
    """Layer groups of :class:`MicroNet` and :class:`MicroSegNet` by prefixes."""
    return {"early": ["stem"], "late": ["body"]}


def save_weights(path: Path, network: nn.Module | None = None, seed: int = 3) -> Path:
    """Random weights, and batch statistics that are not those of a new network."""
    generator = torch.Generator().manual_seed(seed)
    state = (network or MicroNet()).state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator)
            state[name] = 0.5 + noise if name.endswith("running_var") else tensor * 0 + (noise - 0.4) / 2
    torch.save(state, path)
    return path


def picture(label: int, rng: np.random.Generator, size: tuple[int, int] = (20, 16)) -> NDArray[np.uint8]:
    """Noise ``(height, width, 3)`` whose colour tells the class."""
    width, height = size
    pixels = rng.integers(0, 120, (height, width, 3))
    pixels[..., label % 3] += 100
    return pixels.astype(np.uint8)


def save(pixels: NDArray[Any], path: Path) -> Path:
    """Writes a PNG or JPEG, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def class_folders(root: Path, n: int = 8, classes: Sequence[str] = CLASSES, seed: int = 0) -> Path:
    """One folder per class with `n` images each, of two sizes."""
    rng = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        for i in range(n):
            save(picture(label, rng, (20 + 4 * (i % 2), 16)), root / name / f"{i:03d}.png")
    return root


def mask_folders(root: Path, n: int = 6, classes: Sequence[str] = CLASSES, seed: int = 0) -> Path:
    """Images with masks: blocks of classes, in the colour of the class, and some pixels of no class."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        labels = rng.integers(len(classes), size=(4, 5)).repeat(4, 0).repeat(4, 1)
        colours = np.eye(3, dtype=np.int64)[labels % 3] * 100
        save((colours + rng.integers(0, 120, colours.shape)).astype(np.uint8), root / "images" / f"{i}.png")
        labels[0, 0] = 255
        save(labels.astype(np.uint8), root / "masks" / f"{i}.png")
    (root / "classes.txt").write_text("\n".join(classes))
    return root


QUICK = "--quick --budget 2 --window 1 --episodes 2 --num-envs 2 --eval-seeds 1 --device cpu"
"""The main job, as short as it gets."""


def main_job(out: Path, pair: str) -> int:
    """Trains a policy on a pair for two episodes, evaluates, plots; returns the exit status."""
    import train_policy

    return train_policy.main(["train", "--out", str(out), *QUICK.split(), "--pairs", pair, "--eval-pairs", pair])
