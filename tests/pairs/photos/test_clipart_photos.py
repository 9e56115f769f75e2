"""Drawn objects to photographs, on images that are made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from l2o_env import ConfigError, pairs
from l2o_env.evaluation.resumable import pair_digest
from l2o_env.pairs.images.folder_listings import list_classes
from l2o_env.pairs.images.image_split import ImageSplit
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.photos.clipart_photos import half, settings_of
from l2o_env.pairs.photos.drawing import Drawings
from l2o_env.pairs.splits import decoded
from tests.image_trees import MicroNet, picture, save, save_weights

STYLES = ("fluent", "noto", "openclip")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, three styles, two packages of photographs."""
    root, rng = tmp_path_factory.mktemp("clipart"), np.random.default_rng(0)
    for label, name in enumerate(("bird", "fish")):
        for i, style in enumerate((*STYLES, *STYLES)):
            _cut_out(root / "source" / name / f"{style}-{i:03d}.png", label, rng)
        for i, package in enumerate(("gcompris", "gcompris", "tuxpaint", "tuxpaint", "tuxpaint")):
            save(picture(label, rng, (16, 16)), root / "target" / name / f"{package}-{i:03d}.jpg")
    save_weights(root / "weights.pt")
    return root


def _cut_out(path: Path, label: int, rng: np.random.Generator) -> None:
    pixels = np.full((12, 12, 4), 255, np.uint8)
    pixels[..., :3] = picture(label, rng, (12, 12))
    pixels[:2, :, 3] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _make(tree: Path, **settings: Any) -> Pair:
    given = {"root": tree, "backbone": MicroNet, "weights": tree / "weights.pt", "size": 16}
    return pairs.make("clipart-photos", **{**given, "n_train": 12, "n_validation": 6, **settings})


def _split(pair: Pair, name: str) -> ImageSplit:
    split = getattr(pair, name)
    assert isinstance(split, ImageSplit)
    return split


def _styles(split: ImageSplit) -> set[str]:
    assert isinstance(split.samples, Drawings)
    return {each.style for each in split.samples.cut_outs}


def test_validation_is_drawn_in_a_style_that_training_never_sees(root: Path) -> None:
    pair = _make(root)
    assert (pair.classes, pair.n_classes, pair.n_proxy_classes) == (("bird", "fish"), 2, 5)
    train, validation = _split(pair, "train"), _split(pair, "validation")
    assert (len(train), len(validation)) == (12, 6)
    assert (_styles(train), _styles(validation)) == ({"fluent", "openclip"}, {"noto"})
    assert train.labels is not None and train.labels.bincount().tolist() == [6, 6]
    other = _make(root, held_out_style="fluent")
    assert _styles(_split(other, "validation")) == {"fluent"}
    images = [decoded(_split(made, "train"), range(12)).images for made in (pair, _make(root), _make(root, seed=1))]
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])


def test_photographs_are_halved_evenly_once_and_for_all(root: Path) -> None:
    listing = list_classes(root / "target", "photographs")
    tested, shown = half(listing, 0), half(listing, 1)
    assert not {*tested.files} & {*shown.files} and {*tested.files} | {*shown.files} == {*listing.files}
    for name in ("bird", "fish"):
        for package, n in (("gcompris", 2), ("tuxpaint", 3)):
            own = [f"{name}/{package}" in file.as_posix() for file in tested.files]
            assert sum(own) == (n + 1) // 2
    split = _split(_make(root, seed=5), "target")  # whatever the seed
    assert split.samples.files == tested.files  # type: ignore[attr-defined]
    reordered = listing.take(range(len(listing))[::-1])
    assert {*half(reordered, 0).files} == {*tested.files}
    only = _split(_make(root, photographs="gcompris"), "target")
    assert [file.stem.split("-")[0] for file in only.samples.files] == ["gcompris"] * 2  # type: ignore[attr-defined]


def test_what_is_kept_of_the_proxy_is_that_it_agrees_with_itself(root: Path) -> None:
    pair = _make(root)
    images = decoded(_split(pair, "proxy_test"), range(6))
    with torch.no_grad():
        assert (pair.proxy(images.images).argmax(1) == images.labels).all()
    assert torch.equal(images.images, decoded(_split(pair, "target"), range(6)).images)
    assert pair_digest(pair) == pair_digest(_make(root)) != pair_digest(_make(root, n_train=10))


def test_without_photographs_there_is_no_real_accuracy(root: Path, tmp_path: Path) -> None:
    (tmp_path / "source").symlink_to(root / "source")
    pair = _make(root, root=tmp_path)
    assert pair.target is None and pair.proxy_test is None and len(pair.train) == 12


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"held_out_style": "nota"}, r"Unknown held_out_style 'nota'\. Did you mean 'noto'"),
        ({"photographs": "some"}, "Unknown photographs 'some'"),
        ({"size": 0}, "size is 0"),
        ({"n_train": 0}, "n_train is 0"),
    ],
)
def test_what_cannot_work_is_told(root: Path, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        _make(root, **settings)


def test_without_images_it_says_how_to_get_them(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2O_ENV_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=r"not in .*datasets.clipart-photos: make it with `l2o data clipart-photos`"):
        pairs.make("clipart-photos", size=32)
    for label in ("bird", "fish"):
        _cut_out(tmp_path / "source" / label / "noto-000.png", 0, np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"no cut-outs beside the style 'noto' of the class 'bird'.*held_out_style"):
        _make(root, root=tmp_path)
    for label in ("bird", "cat"):
        save(np.zeros((8, 8, 3), np.uint8), tmp_path / "target" / label / "tuxpaint-000.jpg")
    with pytest.raises(ConfigError, match=r"target has classes that .*source lacks"):
        _make(root, root=tmp_path)


def test_the_default_is_a_network_of_photographs() -> None:
    settings = settings_of("clipart-photos", {})
    assert (settings.backbone, settings.size, settings.held_out_style) == ("efficientnet_lite0", 96, "noto")
    assert (settings.n_train, settings.n_validation, settings.folder.name) == (2000, 150, "clipart-photos")
