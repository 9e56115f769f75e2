"""The proxy's classes are matched by name wherever anything names them, and told where nothing does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from l2o_env import ConfigError
from l2o_env.pairs.from_files.proxy_classes import proxy_classes
from l2o_env.pairs.from_files.proxy_images import proxy_test_listing
from l2o_env.pairs.from_files.settings import ImageSettings
from tests.image_trees import MicroNet, class_folders, mask_folders

NAMES = ("ant", "bee", "cow")


def _checkpoint(path: Path, **beside: Any) -> Path:
    torch.save({"state_dict": MicroNet().state_dict(), **beside}, path)
    return path


def _settings(tmp_path: Path, **settings: Any) -> ImageSettings:
    given = {"backbone": MicroNet, "weights": _checkpoint(tmp_path / "plain.pt"), "proxy_test": tmp_path / "test"}
    return ImageSettings(**{**given, **settings})


def _labels(settings: ImageSettings, n_classes: int = 3) -> dict[str, int]:
    """The index of each class folder."""
    listing = proxy_test_listing(settings, n_classes)
    labels = np.asarray(listing.labels)
    return {file.parent.name: int(label) for file, label in zip(listing.files, labels, strict=True)}


@pytest.mark.parametrize(
    "beside",
    [
        {"class_to_idx": {"cow": 0, "ant": 1, "bee": 2}},
        {"classes": ["cow", "ant", "bee"]},
        {"class_names": ("cow", "ant", "bee")},
        {"categories": ["cow", "ant", "bee"]},
    ],
)
def test_a_checkpoint_says_what_its_classes_are_called(tmp_path: Path, beside: dict[str, Any]) -> None:
    class_folders(tmp_path / "test", n=1, classes=NAMES)
    settings = _settings(tmp_path, weights=_checkpoint(tmp_path / "named.pt", **beside))
    assert _labels(settings) == {"cow": 0, "ant": 1, "bee": 2}


@pytest.mark.parametrize(
    "beside",
    [
        {},
        {"classes": ["cow", "ant"]},
        {"class_to_idx": {"ant": 0, "bee": 2, "cow": 5}},
        {"classes": 3},
        {"class_to_idx": {0: 0, 1: 1, 2: 2}},
        {"classes": ["ant", "ant", "bee"]},
        {"classes": [1, 2, 3]},
    ],
)
def test_what_says_nothing_of_all_classes_is_not_read(tmp_path: Path, beside: dict[str, Any]) -> None:
    class_folders(tmp_path / "test", n=1, classes=NAMES)
    settings = _settings(tmp_path, weights=_checkpoint(tmp_path / "named.pt", **beside))
    assert proxy_classes(settings, 3) is None
    assert _labels(settings) == {"ant": 0, "bee": 1, "cow": 2}


def test_other_names_are_refused_unless_the_user_says_which_is_which(tmp_path: Path) -> None:
    class_folders(tmp_path / "test", n=1, classes=("n01", "n02", "n03"))
    settings = _settings(tmp_path, weights=_checkpoint(tmp_path / "named.pt", classes=NAMES))
    with pytest.raises(
        ConfigError, match=r"Only the first has 'ant', 'bee', 'cow'; only the second 'n01', .*classes\.txt"
    ):
        _labels(settings)
    (tmp_path / "test/classes.txt").write_text("n03\nn01\nn02\n")
    assert _labels(settings) == {"n03": 0, "n01": 1, "n02": 2}
    (tmp_path / "test/classes.txt").write_text("n03\nn01\nn04\n")
    with pytest.raises(
        ConfigError, match=r"names other classes than there are folders\. .* 'n04'; only the second 'n02'"
    ):
        _labels(settings)


def test_proxy_data_says_what_the_proxys_classes_are_called(tmp_path: Path) -> None:
    class_folders(tmp_path / "real", n=1, classes=NAMES)
    (tmp_path / "real/classes.txt").write_text("bee\nant\ncow\n")
    class_folders(tmp_path / "test", n=1, classes=NAMES)
    settings = _settings(tmp_path, weights="train", proxy_data=tmp_path / "real")
    assert _labels(settings) == {"bee": 0, "ant": 1, "cow": 2}
    (tmp_path / "test/cow").rename(tmp_path / "test/pig")
    with pytest.raises(ConfigError, match="Only the first has 'cow'; only the second 'pig'"):
        _labels(settings)


def test_masks_are_read_by_the_names_of_their_values(tmp_path: Path) -> None:
    mask_folders(tmp_path / "real", n=1, classes=NAMES)
    mask_folders(tmp_path / "test", n=1, classes=("cow", "ant", "bee"))
    settings = _settings(tmp_path, weights="train", proxy_data=tmp_path / "real")
    listing = proxy_test_listing(settings, 3, dense=True)
    assert listing.classes == NAMES
    assert listing.label_map is not None
    assert dict(listing.label_map.classes) == {0: 2, 1: 0, 2: 1}
    (tmp_path / "test/classes.txt").write_text("cow\nant\npig\n")
    with pytest.raises(ConfigError, match="Only the first has 'bee'; only the second 'pig'\\. Rename them\\."):
        proxy_test_listing(settings, 3, dense=True)


def test_numbers_are_in_the_order_of_image_folder_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "l2o_env")
    numbers = tuple(map(str, range(12)))
    class_folders(tmp_path / "test", n=1, classes=numbers[:3])
    assert _labels(_settings(tmp_path)) == {"0": 0, "1": 1, "2": 2}
    assert not caplog.text
    class_folders(tmp_path / "test", n=1, classes=numbers[3:], seed=1)
    assert _labels(_settings(tmp_path), 12)["10"] == 2
    assert "in the order '0', '1', '10', '11', …. If its first outputs are those of '0', '1', '2', '3'" in caplog.text
    caplog.clear()
    (tmp_path / "test/classes.txt").write_text("\n".join(numbers))
    assert _labels(_settings(tmp_path), 12)["10"] == 10
    assert not caplog.text


def test_published_weights_have_names_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "l2o_env")
    settings = _settings(tmp_path, backbone="resnet18", weights="DEFAULT")
    known = proxy_classes(settings, 1000)
    assert known is not None
    assert known[:2] == ("tench", "goldfish")
    assert proxy_classes(settings, 999) is None
    assert proxy_classes(_settings(tmp_path, backbone="efficientnet_lite0", weights="DEFAULT"), 1000) is None


@pytest.mark.parametrize(
    ("folders", "told"),
    [
        (("n01440764", "n01443537", "n01484850"), ""),
        (("fish one", "fish two", "shark"), "the classes in the order 'fish one', 'fish two', 'shark'"),
    ],
)
def test_folders_of_imagenet_are_in_its_order(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    folders: tuple[str, ...],
    told: str,
) -> None:
    caplog.set_level("WARNING", "l2o_env")
    class_folders(tmp_path / "test", n=1, classes=folders)
    monkeypatch.setattr("l2o_env.pairs.from_files.proxy_classes._of_torchvision", lambda backbone: NAMES)
    found = _labels(_settings(tmp_path, backbone="resnet18", weights="DEFAULT"))
    assert found == {name: k for k, name in enumerate(folders)}
    assert told in caplog.text.replace("proxy's ", "")
    assert bool(told) == bool(caplog.text)
