"""Torchvision's data sets as sources and targets of any network, beside folders, through the whole main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from l2o_env import ConfigError, pairs
from l2o_env.evaluation.resumable import pair_digest
from l2o_env.pairs.images.image_split import ImageSplit
from l2o_env.pairs.pair import Pair
from tests.dataset_files import Digits, write_digits, write_gtsrb
from tests.image_trees import MicroNet, class_folders, main_job, save_weights

ROOT = Path(__file__).parents[2]
SIGNS = tuple(map(str, range(43)))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of :class:`MicroNet` beside the data sets."""
    return save_weights(tmp_path / "weights.pt")


@pytest.fixture
def mnist(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Digits]:
    """MNIST's files in ``tmp_path``."""
    return write_digits("mnist", tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def gtsrb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tracks of two frames for each sign, and one photograph to test on for each, the last sign first."""
    root = tmp_path_factory.mktemp("gtsrb")
    save_weights(root / "weights.pt")
    return write_gtsrb(root, range(43), tracks=3, frames=2, test_labels=reversed(range(43)))


def _make(root: Path, **settings: Any) -> Pair:
    given = {"root": root, "backbone": MicroNet, "weights": root / "weights.pt", "size": 12, "n_validation": 10}
    return pairs.make("torchvision", **{**given, **settings})


def _labels(split: Any) -> list[int]:
    """Labels of a split; those that decoding gives are the same."""
    assert isinstance(split, ImageSplit)
    assert split.labels is not None
    assert [int(split.base(i).label) for i in range(len(split))] == split.labels.tolist()
    return split.labels.tolist()


def _pixels(pixels: Any) -> torch.Tensor:
    """An image as :class:`ImageSplit` decodes it: RGB, 12 pixels high and wide."""
    from torchvision.transforms.v2 import functional

    return functional.pil_to_tensor(functional.resize(Image.fromarray(pixels).convert("RGB"), [12]))


def test_the_main_job_runs_on_it(tmp_path: Path, mnist: dict[str, Digits], monkeypatch: pytest.MonkeyPatch) -> None:
    write_digits("svhn", tmp_path, monkeypatch)
    network = {"backbone": f"{ROOT}/image_trees.py:MicroNet", "weights": tmp_path / "weights.pt"}
    settings = {"source": "MNIST", "target": "SVHN", "root": tmp_path, "size": 12, "n_validation": 10, "mirror": True}
    assert main_job(tmp_path / "run", pairs.spec("torchvision", **network, **settings)) == 0
    found = pd.read_csv(tmp_path / "run" / "results.csv")["real_accuracy"] * 20
    np.testing.assert_allclose(found, found.round(), atol=1e-5)  # of these very images
    assert (tmp_path / "run" / "actions.png").stat().st_size > 1000


def test_its_splits(tmp_path: Path, mnist: dict[str, Digits]) -> None:
    pair = _make(tmp_path, source="mnist", target="mnist", metric="mean_class_accuracy", flip_average=True)
    assert (len(pair.train), len(pair.validation), pair.n_classes) == (30, 10, 10)
    assert (pair.metric, pair.flip_average) == ("mean_class_accuracy", True)
    assert sorted(_labels(pair.validation)) == list(range(10))
    assert _labels(pair.target) == mnist["test"][1].tolist()
    for i in range(20):
        assert torch.equal(pair.target.base(i).image, _pixels(mnist["test"][0][i]))  # type: ignore[union-attr]
    expected = [_pixels(p) for p in mnist["train"][0]]
    found = []
    for split in (pair.train, pair.validation):
        for i, label in enumerate(_labels(split)):
            image = split.base(i).image  # type: ignore[union-attr]
            found += [k for k in range(40) if torch.equal(image, expected[k])]
            assert mnist["train"][1][found[-1]] == label
    assert sorted(found) == list(range(40))


def test_a_target_may_be_missing_and_images_may_be_fewer(tmp_path: Path, mnist: dict[str, Digits]) -> None:
    pair = _make(tmp_path, source="mnist", n_source=30)
    assert (len(pair.train), len(pair.validation), pair.target) == (20, 10, None)
    assert sorted(_labels(pair.train)) == sorted([*range(10)] * 2)
    pair = _make(tmp_path, source="mnist", target="mnist", n_target=10)
    assert sorted(_labels(pair.target)) == list(range(10))
    digests = {pair_digest(_make(tmp_path, source="mnist", n_source=n, seed=s)) for n, s in ((30, 0), (30, 1), (0, 0))}
    assert len(digests) == 3
    assert pair_digest(_make(tmp_path, source="mnist", n_source=30)) in digests


def test_a_track_of_one_sign_is_not_divided(gtsrb: Path) -> None:
    pair = _make(gtsrb, source="gtsrb", target="GTSRB")
    tracks = [{str(f)[:-10] for f in split.samples.files} for split in (pair.train, pair.validation)]  # type: ignore[union-attr]
    assert [len(t) for t in tracks] == [43 * 2, 43]
    assert not tracks[0] & tracks[1]
    assert _labels(pair.validation) == [label for label in range(43) for _ in range(2)]
    assert _labels(pair.target) == list(reversed(range(43)))


@pytest.mark.parametrize("names", [SIGNS, tuple(f"{label:05d}" for label in range(43))])
def test_classes_are_matched_by_name(gtsrb: Path, tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = class_folders(tmp_path / "own", n=2, classes=names)
    pair = _make(gtsrb, source="gtsrb", target=folder)
    files = pair.target.samples.files  # type: ignore[union-attr]
    assert _labels(pair.target) == [int(Path(file).parent.name) for file in files]  # not in the order of the folders
    turned = _make(gtsrb, source=folder, target="gtsrb")
    numbers = {int(Path(f).parent.name): label for f, label in zip(  # the index of each sign
        turned.train.samples.files, _labels(turned.train), strict=True  # type: ignore[union-attr]
    )}  # fmt: skip
    assert len(numbers) == 43
    assert _labels(turned.target) == [numbers[label] for label in reversed(range(43))]


def _spoil(root: Path, *names: str) -> None:
    class_folders(root / "own", n=2, classes=names)


@pytest.mark.parametrize(
    ("folders", "settings", "told"),
    [
        ((), {}, "The pair 'torchvision' needs a data set or a folder: torchvision:source=…,target=…"),
        ((), {"source": "minst"}, r"source of the pair 'torchvision': 'minst'\. Did you mean 'mnist'.*'FOLDER'"),
        ((), {"source": "mnist", "target": 3}, "Unknown target of the pair 'torchvision': '3'"),
        ((), {"source": "mnist", "target": "no/folder"}, "target: there is no folder no/folder"),
        ((), {"source": "mnist", "target": "usps"}, "USPS cannot be had from .*give root=FOLDER, or download=true"),
        ((), {"source": "mnist", "n_source": -1}, "n_source is -1; expected a number of images, or 0 for all"),
        ((), {"source": "mnist", "n_target": 2.5}, "n_target is 2.5; expected a number of images, or 0 for all"),
        ((), {"source": "mnist", "n_source": 9}, "9 source images were asked for, of 10 classes"),
        ((), {"source": "mnist", "n_validation": 40}, "n_validation is 40 .*are 40 source images.* give .*=1 to 30"),
        ((), {"source": "mnist", "n_sources": 3}, r"'torchvision': 'n_sources'\. Did you mean 'n_source'"),
        ((), {"source": "mnist", "download": 1}, "download is 1; expected true or false"),
        (("0", "1", "x"), {"source": "mnist", "target": "own"}, r"only the first have \['2', .*'9'\], only the second "
                                                                r"have \['x'\]"),
        (("3", "03"), {"source": "mnist", "target": "own"}, r"own: the folders \['03', '3'\] are one class by number"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_told(
    tmp_path: Path, mnist: dict[str, Digits], folders: tuple[str, ...], settings: dict[str, Any], told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    _spoil(tmp_path, *folders)
    with pytest.raises(ConfigError, match=told):
        _make(tmp_path, **settings)
