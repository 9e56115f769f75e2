"""One's own folders and network, through the whole main job; and everything that can be wrong with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

import train_policy
from l2o_env import ConfigError, pairs
from l2o_env.pairs.pair import Pair
from tests.image_trees import QUICK, MicroNet, class_folders, main_job, save_weights

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
    opponents = ["tuned-adamw-cosine", "adamw-cosine", "asg-sgd", "frozen-backbone"]
    assert [row["policy"] for row in summary] == ["reinforce", *opponents]


def test_the_papers_table_runs_on_them(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = "--seeds 1 --episodes 2 --budget 2 --window 1 --device cpu"
    assert train_policy.main(["table", _spec(tree, target=tree / "target"), *short.split()]) == 0
    printed = capsys.readouterr().out
    for model in ("feature distillation (ROAD)", "CSG", "synaptic intelligence", "ASG: guidance + learned policy"):
        assert model in printed


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
        (_empty, {}, "there are no images in the folder 'bird'"),
        (_loose, {"source": "loose"}, r"^loose has no folders of classes\. Expected one folder per class with at "
                                      "least one image each"),
        (_foreign_weights, {}, r"do not fit MicroNet: 12 missing: .*; 1 not of this network: more; 1 of another shape: "
                               r"fc\.weight \(5, 9\) instead of \(5, 8\)"),
        (_pickle, {}, r"weights\.pt cannot be read as weights: it holds a pathlib\.\S*PosixPath beside tensors"),
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
