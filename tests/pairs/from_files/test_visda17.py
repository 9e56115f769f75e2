"""VisDA-17 in its layout, through the whole main job."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import train_policy
from l2o_env import ConfigError, pairs
from l2o_env.pairs.augmentation import Augmentation
from l2o_env.pairs.from_files.visda17 import CLASSES, read_split, settings_of
from l2o_env.pairs.images.image_split import Size
from tests.image_trees import MicroNet, main_job, picture, save, save_weights

NET = f"{Path(__file__).parents[2]}/image_trees.py:MicroNet"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models with two views of each class, and one photograph."""
    root = tmp_path_factory.mktemp("visda")
    rng = np.random.default_rng(0)
    lists: dict[str, list[str]] = {"train": [], "validation": []}
    for label, name in enumerate(CLASSES):
        for model in ("0269_a", "0270_b"):  # the first of them from both places that models were found at
            for view in (f"src_{1 + (model == '0269_a')}_{model}__0_39_150", f"src_1_{model}__152_39_150"):
                lists["train"].append(f"{name}/{view}.png {label}")
        lists["validation"].append(f"{name}/{name}_4{label:03d}.jpg {label}")
    for part, lines in lists.items():
        for line in lines:
            file, label = line.split()
            save(picture(int(label), rng), root / part / file)
        (root / part / "image_list.txt").write_text("\n".join(lines) + "\n")
    save_weights(root / "weights.pt")
    return root


def test_the_main_job_runs_on_it(root: Path, tmp_path: Path) -> None:
    spec = pairs.spec("visda17", root=root, backbone=NET, weights=root / "weights.pt", size=12, n_validation=24)
    assert main_job(tmp_path / "run", spec) == 0
    frame = pd.read_csv(tmp_path / "run" / "results.csv")
    assert frame["real_accuracy"].between(0, 1).all()
    assert (tmp_path / "run" / "learning_curve.png").exists()


def test_a_network_is_adapted_to_its_photographs(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = pairs.spec("visda17", root=root, backbone=NET, weights=root / "weights.pt", size=12, n_validation=24)
    short = ["--hp", "batch_size=8", "--hp", "portion=1", "--budget", "15", "--device", "cpu"]
    arguments = ["--rounds", "1", "--updates", "2", *short, "--out", str(tmp_path / "run")]
    assert train_policy.main(["adapt", spec, "--method", "mrkld", "--init", "guided", *arguments]) == 0
    frame = pd.read_csv(tmp_path / "run" / "rounds.csv")
    assert frame["labelled"][1] > 0
    table = ["--hp", "rounds=1", "--hp", "updates=1", *short, "--starts", "proxy", "--seeds", "1"]
    assert train_policy.main(["table", spec, "--adaptation", "--methods", "cbst", *table]) == 0
    printed = capsys.readouterr().out
    assert "published: VisDA-17" in printed and "76.4" in printed and "the mean over the classes" in printed


def test_views_of_one_model_stay_together(root: Path) -> None:
    pair = pairs.make(
        "visda17", root=root, backbone=MicroNet, weights=root / "weights.pt", size=12, n_validation=12, target=None
    )
    assert (len(pair.train), len(pair.validation), pair.target, pair.n_classes) == (24, 24, None, 12)
    assert (pair.classes[0], pair.classes[11]) == ("aeroplane", "truck")
    models = [
        {(f.parent.name, f.name.split("__")[0].split("_", 2)[2]) for f in s.samples.files}  # type: ignore[union-attr]
        for s in (pair.train, pair.validation)
    ]
    assert [len(names) for names in models] == [12, 12]
    assert models[0] | models[1] == {(name, model) for name in CLASSES for model in ("0269_a", "0270_b")}
    assert read_split(root / "train", "source images").groups[:5] == [  # type: ignore[index]
        "aeroplane/0269_a", "aeroplane/0269_a", "aeroplane/0270_b", "aeroplane/0270_b", "bicycle/0269_a",
    ]  # fmt: skip
    assert pair.validation.labels.bincount().tolist() == [2] * 12  # type: ignore[union-attr]
    assert (pair.metric, pair.flip_average) == ("mean_class_accuracy", True)


def test_images_are_those_of_the_papers_recipe(root: Path) -> None:
    pair = pairs.make("visda17", root=root, backbone=MicroNet, weights=root / "weights.pt", n_validation=12)
    for split in (pair.train, pair.validation, pair.target):
        assert split.size == Size(resize=224, crop=224)  # type: ignore[union-attr]
        assert split.augmentation == Augmentation()  # type: ignore[union-attr]
        assert (split.mean, split.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # type: ignore[union-attr]
    settings = settings_of("visda17", {"root": root})
    assert (settings.backbone, settings.batchnorm, settings.n_validation) == ("resnet101", "frozen", 500)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, r"There is no list .*train/image_list\.txt; expected a text file with one line per image"),
        ("", "image_list.txt is empty"),
        ("bus/a.png 2\nbus/b.png", r"Row 2 of .*image_list\.txt is 'bus/b\.png'; expected 2 columns"),
        ("bus/a.png 12", r"gives 'bus/a\.png' the label '12'; expected 0 to 11"),
        ("bus/a.png ²", "the label '²'; expected 0 to 11"),
        (f"bus/a.png {'9' * 10**5}", "the label '999"),
        (f"bus/{'x' * 10**5}.png 2", "1 images of .* are not there"),
        ("bus/a\x00.png 2", "1 images of .* are not there"),
        ("truck/a.png 0", r"'truck/a\.png' the label 0, which is 'aeroplane'; its folder says 'truck'"),
        ("bus/a.png bus", "the label 'bus'; expected 0 to 11"),
        ("bus/a.png 2\nbus/b.png 2", r"2 images of .* are not there, such as .*bus/a\.png"),
    ],
)
def test_a_damaged_list_is_told(tmp_path: Path, text: str | None, told: str) -> None:
    (tmp_path / "train").mkdir()
    if text is not None:
        (tmp_path / "train" / "image_list.txt").write_text(text)
    with pytest.raises(ConfigError, match=told):
        pairs.make("visda17", root=tmp_path)


def test_a_missing_folder_is_told(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"root: there is no folder {tmp_path}/x"):
        pairs.make("visda17", root=tmp_path / "x")
    with pytest.raises(ConfigError, match="needs the folder of the data set: visda17:root=…"):
        pairs.make("visda17")
    (root / "train2").symlink_to(root / "train")
    with pytest.raises(ConfigError, match=f"target images: there is no folder {root}/test"):
        pairs.make("visda17", root=root, target="test")


def test_a_class_of_the_target_without_images_is_logged(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "train").symlink_to(root / "train")
    (tmp_path / "validation").mkdir()
    lines = []
    for label, name in enumerate(CLASSES):
        (tmp_path / "validation" / name).symlink_to(root / "validation" / name)
        files = sorted((root / "validation" / name).iterdir())
        lines += [f"{name}/{file.name} {label}" for file in files if name != "bus"]
    (tmp_path / "validation" / "image_list.txt").write_text("\n".join(lines))
    caplog.set_level("WARNING", "l2o_env")
    settings = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "size": 12, "n_validation": 24}
    pairs.make("visda17", root=tmp_path, backbone=MicroNet, weights=root / "weights.pt", **settings)
    told = (
        "These classes of the target images have no images: ['bus']. Accuracies on them are over the other 11 classes."
    )
    assert caplog.messages == [told]


def test_a_class_without_images_is_told(root: Path, tmp_path: Path) -> None:
    (tmp_path / "train").symlink_to(root / "train")
    (tmp_path / "copy").mkdir()
    lines = (root / "train" / "image_list.txt").read_text().splitlines()
    (tmp_path / "copy" / "train").mkdir()
    for name in CLASSES:
        (tmp_path / "copy" / "train" / name).symlink_to(root / "train" / name)
    kept = [line for line in lines if not line.startswith(("bus/", "truck/"))]
    (tmp_path / "copy" / "train" / "image_list.txt").write_text("\n".join(kept))
    with pytest.raises(ConfigError, match=r"These classes of the source images have no images: \['bus', 'truck'\]"):
        pairs.make("visda17", root=tmp_path / "copy", target=None)
