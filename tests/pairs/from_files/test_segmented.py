"""Images with masks and a network of one's own, and everything that can be wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from l2o_env import ConfigError, pairs
from tests.image_trees import MicroSegNet, class_folders, main_job, mask_folders, save_weights

ROOT = Path(__file__).parents[2]
COLOURS = ("red", "green", "blue")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("L2O_ENV_CACHE", str(tmp_path / "cache"))
    mask_folders(tmp_path / "source", n=6)
    mask_folders(tmp_path / "target", n=3, seed=1)
    save_weights(tmp_path / "weights.pt", MicroSegNet())
    return tmp_path


def _settings(tree: Path, **settings: Any) -> dict[str, Any]:
    given = {"source": tree / "source", "weights": tree / "weights.pt", "backbone": MicroSegNet}
    return {**given, "size": 16, "n_validation": 2, **settings}


def three_colours() -> MicroSegNet:
    """A network of one's own that is to be trained."""
    return MicroSegNet(3)


def test_the_main_job_runs_on_ones_own_network(tree: Path) -> None:
    backbone, groups = f"{ROOT}/image_trees.py:MicroSegNet", f"{ROOT}/image_trees.py:two_groups"
    mask_folders(tree / "proxy", classes="abcde", seed=2)
    given = {"target": tree / "target", "proxy_test": tree / "proxy", "sliding_window": 12, "groups": groups}
    spec = pairs.spec("folders", **_settings(tree, **given, backbone=backbone))
    assert main_job(tree / "run", spec) == 0
    frame = pd.read_csv(tree / "run" / "results.csv")
    assert frame["real_accuracy"].between(0, 1).all()
    assert frame["proxy_accuracy"].between(0, 1).all()
    assert pd.read_parquet(tree / "run" / "actions.parquet")["layer"].unique().tolist() == ["early", "late", "head"]


def test_classes_of_masks_are_matched_by_name(tree: Path) -> None:
    settings = _settings(tree, target=tree / "target")
    (tree / "target" / "classes.txt").write_text("dog\ncat")
    pair = pairs.make("folders", **settings)
    assert (pair.n_classes, pair.classes, pair.metric) == (2, ("cat", "dog"), "miou")
    for i in range(3):
        raw = torch.from_numpy(np.array(Image.open(tree / "target" / "masks" / f"{i}.png")))
        label = pair.target.base(i).label  # type: ignore[union-attr]
        assert torch.equal(label, torch.where(raw == 255, raw, 1 - raw))
    (tree / "target" / "classes.txt").write_text("dog\nCat")
    with pytest.raises(ConfigError, match=r"only the first have \['cat'\], only the second have \['Cat'\]"):
        pairs.make("folders", **settings)
    (tree / "target" / "masks" / "2.png").unlink()
    with pytest.raises(ConfigError, match=r"1 masks are not there, such as .*masks/2\.png"):
        pairs.make("folders", **settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"backbone": three_colours, "proxy_data": "classes"}, "proxy_data: classes has no folders images and masks"),
        (
            {"backbone": "fcn8s", "proxy_data": "source"},
            "proxy_data: source has folders images and masks; expected one",
        ),
        ({"proxy_data": "source"}, "MicroSegNet has 5 classes, and proxy_data 2; make its last layer fit"),
        ({"backbone": "fcn8", "proxy_data": "classes"}, r"Unknown segmentation network 'fcn8'\. Did you mean 'fcn8s'"),
        ({"backbone": three_colours, "proxy_data": "source", "width": 0.5}, "width is 0.5, which is for the backbone"),
        ({"weights": "weights.pt", "proxy_test": "source"}, "proxy_test has 2 classes, the proxy 5"),
        ({"weights": "weights.pt", "proxy_test": "classes"}, "proxy_test has 3 classes, the proxy 5"),
        ({"weights": "weights.pt", "backbone": three_colours}, r"classifier\.bias \(5,\) instead of \(3,\)"),
        (
            {"weights": "weights.pt", "head": "classifer"},
            "Unknown convolution of MicroSegNet: 'classifer'. Did you mean",
        ),
        (
            {"weights": "weights.pt", "head": "body.0"},
            r"expected logits \(2, 8, h, w\) of the 8 classes of its head 'body\.0'",
        ),
    ],
)
def test_what_cannot_work_is_told_before_training(
    tree: Path, settings: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    monkeypatch.setattr("l2o_env.pairs.proxies.any_network.fit", None)  # nothing is trained
    class_folders(tree / "classes", n=1, classes=COLOURS)
    with pytest.raises(ConfigError, match=told):
        pairs.make("folders", **_settings(tree, **{"weights": "train", **settings}))
