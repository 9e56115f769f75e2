"""One's own folders and network, through the whole main job; and everything that can be wrong with them."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import train_policy
from l2o_env import ConfigError, pairs
from l2o_env.evaluation.resumable import pair_digest
from l2o_env.pairs.pair import Pair
from tests.image_trees import QUICK, MicroNet, class_folders, main_job, picture, save, save_weights

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    class_folders(tmp_path / "source", n=6)
    class_folders(tmp_path / "target", n=3, seed=1)
    save_weights(tmp_path / "weights.pt")
    return tmp_path


def _spec(tree: Path, **settings: Any) -> str:
    given = {"source": tree / "source", "weights": tree / "weights.pt", "backbone": f"{ROOT}/image_trees.py:MicroNet"}
    return pairs.spec("folders", **{**given, "size": 12, "n_validation": 4, **settings})


def _make(tree: Path, **settings: Any) -> Pair:
    given = {"source": tree / "source", "weights": tree / "weights.pt", "backbone": MicroNet}
    return pairs.make("folders", **{**given, "size": 12, "n_validation": 4, **settings})


def test_the_main_job_runs_on_them(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(tree / "target", tree / "proxy")
    for name in "abc":
        shutil.copytree(tree / "target" / "cat", tree / "proxy" / name)
    groups = f"{ROOT}/image_trees.py:two_groups"
    spec = _spec(tree, target=tree / "target", mirror=True, groups=groups, proxy_test=tree / "proxy", label="mine")
    assert main_job(tree / "run", spec) == 0
    frame = pd.read_csv(tree / "run" / "results.csv")
    assert frame["pair"].unique().tolist() == [spec]
    assert frame["real_accuracy"].between(0, 1).all()
    assert frame["proxy_accuracy"].between(0, 1).all()
    assert pd.read_parquet(tree / "run" / "actions.parquet")["layer"].unique().tolist() == ["early", "late", "head"]
    assert (tree / "run" / "actions.png").stat().st_size > 1000
    printed = capsys.readouterr()
    assert "mine" in printed.out
    assert "Evaluating on mine" in printed.err
    assert str(tree / "source") not in printed.out


def test_without_a_target_there_is_no_real_accuracy(tree: Path) -> None:
    assert main_job(tree / "run", _spec(tree)) == 0
    frame = pd.read_csv(tree / "run" / "results.csv")
    assert frame["real_accuracy"].isna().all()
    assert frame["proxy_accuracy"].isna().all()
    assert frame["v_end"].notna().all()
    summary = json.loads((tree / "run" / "results.json").read_text())["summary"]
    assert len(summary) == 7


def test_the_papers_table_runs_on_them(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = "--seeds 1 --episodes 2 --budget 2 --window 1 --device cpu"
    assert train_policy.main(["table", _spec(tree, target=tree / "target"), *short.split()]) == 0
    printed = capsys.readouterr().out
    for model in ("feature distillation (ROAD)", "CSG", "synaptic intelligence", "ASG: guidance + learned policy"):
        assert model in printed


def test_validation_images_are_split_off_evenly(tree: Path) -> None:
    pair = _make(tree, target=tree / "target")
    assert (len(pair.train), len(pair.validation), len(pair.target or ())) == (8, 4, 6)
    train, validation = (set(map(str, split.samples.files)) for split in (pair.train, pair.validation))  # type: ignore[union-attr]
    assert not train & validation
    assert pair.validation.labels.tolist() == [0, 0, 1, 1]  # type: ignore[union-attr]
    again, other = _make(tree), _make(tree, seed=1)
    assert {str(f) for f in again.validation.samples.files} == validation  # type: ignore[union-attr]
    assert {str(f) for f in other.validation.samples.files} != validation  # type: ignore[union-attr]


def test_an_unreadable_image_is_named_or_skipped_and_counted(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = tree / "source" / "cat" / "000.png"
    bad.write_bytes(b"no image")
    with pytest.raises(ConfigError, match=r"1 of 12 source images cannot be used\. .*cat/000\.png cannot be decoded"):
        _make(tree)
    half = tree / "source" / "dog" / "001.png"
    half.write_bytes(half.read_bytes()[:-200])  # its header is whole
    caplog.set_level("WARNING", "l2o_env")
    pair = _make(tree, on_error="skip")
    assert len(pair.train) + len(pair.validation) == 10
    assert "2 of 12 source images cannot be used and are skipped" in caplog.text
    assert "dog/001.png cannot be decoded" in caplog.text
    bad.unlink()
    with pytest.raises(ConfigError, match=r"dog/001\.png cannot be decoded \(image file is truncated\).*on_error=skip"):
        _make(tree)


def test_a_file_that_changes_after_the_start_is_named(tree: Path) -> None:
    split = _make(tree).train
    file = split.samples.files[2]  # type: ignore[union-attr]
    file.write_bytes(b"no image")
    with pytest.raises(
        ConfigError, match=rf"{file} cannot be decoded \(it is no image.*start again; with on_error=skip"
    ):
        split.read(2)  # type: ignore[union-attr]


def _rename(tree: Path) -> None:
    (tree / "target" / "dog").rename(tree / "target" / "Dog")


def _loose(tree: Path) -> None:
    shutil.copytree(tree / "source" / "cat", tree / "loose")


def _empty(tree: Path) -> None:
    (tree / "source" / "bird").mkdir()


def _foreign_weights(tree: Path) -> None:
    torch.save({"fc.weight": torch.zeros(5, 9), "fc.bias": torch.zeros(5), "more": torch.ones(1)}, tree / "weights.pt")


def _pickle(tree: Path) -> None:
    torch.save({"weights": Path("x")}, tree / "weights.pt")


class Headless(nn.Module):
    """A network that ends with a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)


@pytest.mark.parametrize(
    ("prepare", "settings", "told"),
    [
        (None, {"source": "nowhere"}, "source: there is no folder nowhere"),
        (None, {"target": "nowhere"}, "target: there is no folder nowhere"),
        (_rename, {"target": "target"}, r"only the first have \['dog'\], only the second have \['Dog'\]"),
        (_empty, {}, "Found no valid file for the classes bird"),
        (_loose, {"source": "loose"}, r"^loose: Couldn't find any class folder\. Expected one folder per class with at "
                                      "least one image each"),
        (_foreign_weights, {}, r"do not fit MicroNet: 12 missing: .*; 1 not of this network: more; 1 of another shape: "
                               r"fc\.weight \(5, 9\) instead of \(5, 8\)"),
        (_pickle, {}, r"weights\.pt cannot be read as weights: it holds a pathlib\.PosixPath beside tensors"),
        (None, {"weights": "absent.pt"}, "There is no file of weights at absent.pt; put one there"),
        (None, {"weights": "DEFAULT"}, "which is for networks of torchvision; give your network's as weights=FILE"),
        (None, {"backbone": Headless}, "Headless has no head: expected a network .* ends with a torch.nn.Linear"),
        (None, {"backbone": "resnet19"}, r"Unknown network 'resnet19'\. Did you mean 'resnet18'"),
        (None, {"backbone": "nowhere.py:Net"}, "cannot be loaded"),
        (None, {"backbone": "tests.image_trees:Micro"}, "Unknown name in tests.image_trees: 'Micro'.* 'MicroNet'"),
        (None, {"backbone": dict}, "dict made a dict; expected a class or function that makes a torch.nn.Module"),
        (None, {"head": "fcc"}, r"Unknown linear layer or convolution of MicroNet: 'fcc'\. Did you mean 'fc'"),
        (None, {"groups": {"early": ["stem"]}}, r"in no layer group: body\.0\.weight"),
        (None, {"groups": {"all": ["stem", "body"], "no": ["bodi"]}}, r"'no' \(bodi\) has no parameters of its own"),
        (None, {"groups": ["stem", "body"]}, "groups is or gives a list; expected a mapping"),
        (None, {"feature_layer": "bodi"}, "Unknown feature_layer of MicroNet: 'bodi'"),
        (None, {"size": 3}, "MicroNet cannot take images of 3 x 3 pixels"),
        (None, {"n_validation": 12}, r"n_validation is 12 \(the default, unless .* there are 12 source images, and one "
                                 r"of each class is needed to train on; give n_validation=1 to 10, such as n_.*=2"),
        (None, {"batchnorm": "frosen"}, r"Unknown batchnorm 'frosen'\. Did you mean 'frozen'"),
        (None, {"on_error": "pass"}, "Unknown on_error 'pass'"),
        (None, {"sice": 3}, r"Unknown setting of the pair 'folders': 'sice'\. Did you mean 'size'"),
        (None, {"size": 0}, "size is 0; expected an integer >= 1"),
        (None, {"mirror": 1}, "mirror is 1; expected true or false"),
        (None, {"proxy_test": "target"}, "proxy_test has 2 classes, the proxy 5"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_told_before_training(
    tree: Path, prepare: Callable[[Path], None] | None, settings: dict[str, Any], told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tree)
    if prepare is not None:
        prepare(tree)
    with pytest.raises(ConfigError, match=told):
        _make(tree, **settings)


def test_the_command_line_tells_it_in_one_line(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for spec, told in (
        ("folders", "error: The pair 'folders' needs the folder of synthetic images: folders:source=…,target=…"),
        ("folders:source", "error: 'source' in the pair 'folders:source' is no setting"),
        (_spec(tree, target=tree / "no"), f"error: target: there is no folder {tree / 'no'}"),
    ):
        assert train_policy.main(["train", "--out", str(tree / "run"), *QUICK.split(), "--pairs", spec]) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(told)
    assert not (tree / "run").exists()


def test_a_grey_or_transparent_image_becomes_rgb(tree: Path) -> None:
    rng = np.random.default_rng(0)
    save(picture(0, rng)[..., 0], tree / "source" / "cat" / "grey.png")
    save(np.concatenate([picture(0, rng), picture(1, rng)[..., :1]], -1), tree / "source" / "cat" / "alpha.png")
    pair = _make(tree)
    assert all(pair.train.base(i).image.shape == (3, 12, 12) for i in range(len(pair.train)))  # type: ignore[union-attr]


def test_a_fingerprint_tells_whether_files_have_changed(tree: Path) -> None:
    before = pair_digest(_make(tree))
    assert pair_digest(_make(tree)) == before
    assert pair_digest(_make(tree, mirror=True)) != before
    save(picture(2, np.random.default_rng(9)), tree / "source" / "cat" / "000.png")
    assert pair_digest(_make(tree)) != before


class ThreeWay(nn.Module):
    """A network of three proxy classes, with batch normalisation and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        self.fc = nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, 3)``."""
        return self.fc(F.dropout(self.body(images).mean((-2, -1)), 0.1, self.training))


def test_a_proxy_is_trained_once_on_real_images(
    tree: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("L2O_ENV_CACHE", str(tree / "cache"))
    class_folders(tree / "real", n=12, classes=("red", "green", "blue"), seed=4)
    class_folders(tree / "test", n=6, classes=("red", "green", "blue"), seed=5)
    settings = {"backbone": ThreeWay, "weights": "train", "proxy_data": tree / "real", "proxy_test": tree / "test"}
    state = torch.get_rng_state()
    with caplog.at_level(logging.INFO, "l2o_env"):
        pair = _make(tree, **settings, proxy_epochs=25)
    (told,) = re.findall(r"The proxy names (\d+) % of its training images rightly\.", caplog.text)
    assert int(told) > 80
    assert "learned nothing" not in caplog.text
    assert torch.equal(torch.get_rng_state(), state)
    split = pair.proxy_test
    images = torch.stack([split.base(i).image for i in range(18)])  # type: ignore[union-attr]
    found = pair.proxy(split.finish(images, split.labels, torch.float32)[0]).argmax(1)  # type: ignore[union-attr]
    assert (found == split.labels).float().mean() > 0.8  # type: ignore[union-attr]
    assert len(list((tree / "cache").glob("proxy-own-*.safetensors"))) == 1
    monkeypatch.setattr("l2o_env.pairs.proxies.any_network.fit", None)  # it is not trained again
    again = _make(tree, **settings, proxy_epochs=25)
    for mine, theirs in zip(again.proxy.parameters(), pair.proxy.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    with pytest.raises(ConfigError, match="MicroNet has 5 classes, and proxy_data 3"):
        _make(tree, weights="train", proxy_data=tree / "real")
    for wrong in ({"weights": "train"}, {"proxy_data": tree / "real"}):
        with pytest.raises(ConfigError, match="neither goes without the other"):
            _make(tree, **wrong)
