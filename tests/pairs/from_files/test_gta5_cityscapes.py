"""Street scenes in the layouts of GTA5, Cityscapes, BDD100K and Mapillary, and one's own images with masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from l2o_env import ConfigError, pairs
from l2o_env.models.adapted.fcn8s import FCN8sProxy
from l2o_env.models.base import new_generator
from l2o_env.pairs.augmentation import Augmentation
from l2o_env.pairs.from_files.gta5_cityscapes import sequences, settings_of
from l2o_env.pairs.images.held_out import hold_out
from l2o_env.pairs.images.image_split import Size
from tests.image_trees import main_job, save

WIDTH = 1 / 64
IDS = (7, 8, 11, 26, 0)
"""Label ids of road, sidewalk, building and car, and of nothing."""
TRAIN_IDS = (0, 1, 2, 13, 255)
MAPILLARY = (13, 15, 17, 55, 64)
RNG = np.random.default_rng(0)


def _scene(values: tuple[int, ...], size: tuple[int, int] = (40, 36)) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Blocks of classes, in the colour of the class."""
    width, height = size
    blocks = RNG.integers(len(values), size=(height // 4, width // 4)).repeat(4, 0).repeat(4, 1)
    image = (40 + 40 * blocks[..., None] + RNG.integers(0, 30, (height, width, 3))).astype(np.uint8)
    return image, np.array(values, np.uint8)[blocks]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("streets")

    def put(image: str, mask: str, values: tuple[int, ...]) -> None:
        pixels, labels = _scene(values)
        save(pixels, root / image)
        save(labels, root / mask)

    for i in range(1, 7):
        put(f"gta5/images/{50 * i:05d}.png", f"gta5/labels/{50 * i:05d}.png", IDS)
    for city, i in (("frankfurt", 0), ("lindau", 1)):
        stem = f"{city}_00000{i}_000019"
        put(f"cityscapes/leftImg8bit/val/{city}/{stem}_leftImg8bit.png",
            f"cityscapes/gtFine/val/{city}/{stem}_gtFine_labelIds.png", IDS)  # fmt: skip
    put("bdd/images/10k/val/7d0-a.jpg", "bdd/labels/sem_seg/masks/val/7d0-a.png", TRAIN_IDS)
    put("old/seg/images/val/7d0-a.jpg", "old/seg/labels/val/7d0-a_train_id.png", TRAIN_IDS)
    put("vistas/validation/images/x.jpg", "vistas/validation/labels/x.png", MAPILLARY)
    _vgg(root / "vgg.pt")
    return root


def _vgg(path: Path) -> None:
    """Weights of a narrow VGG-16 with seven classes, under torchvision's names."""
    generator = new_generator(0)
    trunk = FCN8sProxy(7, WIDTH)
    state, convolutions = {}, (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    layers = [layer for layer in trunk.modules() if isinstance(layer, torch.nn.Conv2d)]
    names = [f"features.{k}" for k in convolutions] + [f"classifier.{k}" for k in (0, 3, 6)]
    for name, layer in zip(names, layers, strict=True):
        weight = torch.randn(layer.weight.shape, generator=generator) * (2 / layer.weight[0].numel()) ** 0.5
        state[f"{name}.weight"] = weight.flatten(1) if "classifier" in name else weight
        state[f"{name}.bias"] = torch.zeros(len(weight))
    torch.save(state, path)


def _settings(root: Path, **settings: Any) -> dict[str, Any]:
    given = {"source": root / "gta5", "weights": root / "vgg.pt", "width": WIDTH, "size": 32, "n_validation": 2}
    return {**given, "sliding_window": 32, **settings}


def _assert_classes(labels: torch.Tensor, mask: NDArray[np.uint8], values: tuple[int, ...]) -> None:
    """Asserts that a mask of these values was turned into the classes ``TRAIN_IDS``."""
    for value, index in zip(values, TRAIN_IDS, strict=True):
        np.testing.assert_array_equal(labels == index, mask == value)


@pytest.mark.parametrize(
    ("name", "target"), [("gta5-cityscapes", "cityscapes"), ("gta5-bdd100k", "bdd"), ("gta5-mapillary", "vistas")]
)
def test_the_main_job_runs_on_it(root: Path, tmp_path: Path, name: str, target: str) -> None:
    settings = _settings(root, target=root / target, size=16, resize=20, target_resize=20, sliding_window=16)
    spec = pairs.spec(name, **settings)
    assert main_job(tmp_path / "run", spec) == 0
    frame = pd.read_csv(tmp_path / "run" / "results.csv")
    assert frame["real_accuracy"].between(0, 1).all()
    layers = pd.read_parquet(tmp_path / "run" / "actions.parquet")["layer"].unique().tolist()
    assert layers == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc", "head"]


@pytest.mark.parametrize(
    ("name", "target", "values"),
    [
        ("gta5-cityscapes", "cityscapes", IDS),
        ("gta5-bdd100k", "bdd", TRAIN_IDS),
        ("gta5-bdd100k", "old", TRAIN_IDS),
        ("gta5-mapillary", "vistas", MAPILLARY),
    ],
)
def test_every_layout_gives_the_same_classes(root: Path, name: str, target: str, values: tuple[int, ...]) -> None:
    pair = pairs.make(name, **_settings(root, target=root / target))
    split = pair.target
    assert split is not None
    labels = split.base(0).label  # type: ignore[union-attr]
    assert labels.shape == (36, 40)  # its own size
    assert set(labels.unique().tolist()) == set(TRAIN_IDS)
    path = Path(split.samples.labels[0])  # type: ignore[union-attr]
    from PIL import Image

    _assert_classes(labels, np.array(Image.open(path)), values)
    assert (pair.n_classes, pair.metric, pair.sliding_window) == (19, "miou", 32)
    assert (len(pair.classes), pair.classes[18]) == (19, "bicycle")


def test_train_ids_are_taken_where_they_are(root: Path, tmp_path: Path) -> None:
    stem = "leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png"
    image, mask = _scene(TRAIN_IDS)
    save(image, tmp_path / stem)
    save(mask, tmp_path / "gtFine/val/ulm/ulm_000000_000019_gtFine_labelTrainIds.png")
    pair = pairs.make("gta5-cityscapes", **_settings(root, target=tmp_path))
    assert torch.equal(pair.target.base(0).label, torch.from_numpy(mask))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("file", "target_labels", "values"),
    [
        ("ulm_gtFine_labelTrainIds", "auto", TRAIN_IDS),
        ("ulm_train_id", "auto", TRAIN_IDS),
        ("train_ulm_gtFine_labelIds", "auto", IDS),
        ("train_ulm_gtFine_labelIds", "mapillary", MAPILLARY),
    ],
)
def test_names_of_listed_masks_say_what_they_hold_unless_a_setting_does(
    root: Path, tmp_path: Path, file: str, target_labels: str, values: tuple[int, ...]
) -> None:
    image, mask = _scene(values)
    save(image, tmp_path / "ulm.png")
    save(mask, tmp_path / f"{file}.png")
    (tmp_path / "val.txt").write_text(f"ulm.png {file}.png\n")
    settings = {"target": tmp_path, "target_list": "val.txt", "target_labels": target_labels}
    pair = pairs.make("gta5-cityscapes", **_settings(root, **settings))
    _assert_classes(pair.target.base(0).label, mask, values)  # type: ignore[union-attr]


@pytest.mark.parametrize("split", ["train", "val"])
def test_mapillarys_labels_of_version_1_2_are_taken_where_there_are_two(root: Path, tmp_path: Path, split: str) -> None:
    folder = tmp_path / {"train": "training", "val": "validation"}[split]
    image, mask = _scene(MAPILLARY)
    save(image, folder / "images" / "x.jpg")
    save(mask, folder / "v1.2" / "labels" / "x.png")
    save(mask + 100, folder / "v2.0" / "labels" / "x.png")
    pair = pairs.make("gta5-mapillary", **_settings(root, target=tmp_path, target_split=split))
    assert pair.target.samples.labels == [folder / "v1.2" / "labels" / "x.png"]  # type: ignore[union-attr]
    assert set(pair.target.base(0).label.unique().tolist()) == set(TRAIN_IDS)  # type: ignore[union-attr]


def test_lists_choose_the_images(root: Path, tmp_path: Path) -> None:
    (root / "gta5" / "train.txt").write_text("00050.png\nimages/00100.png\nimages/00200.png labels/00200.png\n")
    mask = "gtFine/val/lindau/lindau_000001_000019_gtFine_labelIds.png"
    (tmp_path / "val.txt").write_text(f"leftImg8bit/val/lindau/lindau_000001_000019_leftImg8bit.png {mask}\n")
    settings = {"source_list": "train.txt", "target_list": tmp_path / "val.txt", "target": root / "cityscapes"}
    pair = pairs.make("gta5-cityscapes", **_settings(root, **settings))
    found = [*pair.train.samples.files, *pair.validation.samples.files]  # type: ignore[union-attr]
    assert sorted(f.name for f in found) == ["00050.png", "00100.png", "00200.png"]
    assert [str(m) for m in pair.target.samples.labels] == [str(root / "cityscapes" / mask)]  # type: ignore[union-attr]


def test_frames_of_one_sequence_stay_together(root: Path, tmp_path: Path) -> None:
    sequences = [{1, 9}, {10, 19}, {20, 21}]
    for i in set.union(*sequences):
        image, mask = _scene(IDS)
        save(image, tmp_path / "images" / f"{i:05d}.png")
        save(mask, tmp_path / "labels" / f"{i:05d}.png")
    pair = pairs.make("gta5-cityscapes", **_settings(root, source=tmp_path))
    parts = [{int(f.stem) for f in s.samples.files} for s in (pair.train, pair.validation)]  # type: ignore[union-attr]
    assert parts[0] | parts[1] == set.union(*sequences)
    assert parts[1] in sequences


def test_of_gta5_ten_places_are_held_out() -> None:
    numbers = np.arange(1, 24_967)
    groups = sequences([Path(f"{i:05d}.png") for i in numbers])
    n_validation = settings_of("gta5-cityscapes", {"source": "gta5"}).n_validation
    train, held_out = hold_out(np.zeros(len(numbers), np.int64), groups, n_validation, 0, "images")
    places = np.unique(numbers[held_out] // 10)
    assert (len(held_out), len(places)) == (100, 10)
    assert not np.isin(numbers[train] // 10, places).any()
    assert sequences([Path("a.png"), Path("b.png")]) == ["a", "b"]  # no numbers: every image stands alone


def test_images_are_those_of_the_papers_recipe_or_as_settings_say(root: Path) -> None:
    pair = pairs.make(
        "gta5-cityscapes", source=root / "gta5", target=root / "cityscapes", weights=root / "vgg.pt", width=WIDTH,
        n_validation=2,
    )  # fmt: skip
    assert pair.train.augmentation == Augmentation(512, (0.75, 1.0, 1.25), mirror=True)  # type: ignore[union-attr]
    sizes = [split.size for split in (pair.train, pair.validation, pair.target)]  # type: ignore[union-attr]
    assert sizes == [Size(), Size(crop=512), Size()]
    assert (pair.sliding_window, pair.flip_average, pair.validation.random) == (1024, False, False)  # type: ignore[union-attr]
    changes = {"resize": 34, "target_resize": 30, "random_crop": False, "scales": 1, "flip_average": True}
    pair = pairs.make("gta5-cityscapes", **_settings(root, target=root / "cityscapes", sliding_window=0, **changes))
    sizes = [split.size for split in (pair.train, pair.validation, pair.target)]  # type: ignore[union-attr]
    assert sizes == [Size(34, 32), Size(34, 32), Size(30)]
    assert (pair.sliding_window, pair.flip_average) == (0, True)
    settings = settings_of("gta5-cityscapes", {"source": "gta5"})
    assert (settings.backbone, settings.width, settings.batchnorm) == ("fcn8s", 1.0, "frozen")


def _large_id(root: Path) -> None:
    image, mask = _scene((7, 40))
    save(image, root / "images" / "00001.png")
    save(mask, root / "labels" / "00001.png")


def _other_size(root: Path) -> None:
    image, _ = _scene(IDS)
    save(image, root / "images" / "00001.png")
    save(_scene(IDS, (20, 16))[1], root / "labels" / "00001.png")


def _coloured(root: Path) -> None:
    image, _ = _scene(IDS)
    save(image, root / "images" / "00001.png")
    save(image, root / "labels" / "00001.png")


def _no_mask(root: Path) -> None:
    save(_scene(IDS)[0], root / "images" / "00001.png")


@pytest.mark.parametrize(
    ("change", "settings", "told"),
    [
        (_large_id, {}, r"00001\.png holds the label ids \[40\], which the label map of Cityscapes ids does not have"),
        (_other_size, {}, r"00001\.png has 40 x 36 pixels, but its mask .*00001\.png has 20 x 16"),
        (_coloured, {}, r"The mask .*00001\.png has 3 channels; expected one, of label ids"),
        (
            _no_mask,
            {},
            r"Of the source images these files are missing: 1, such as .*labels/00001\.png\. .*source_list=FILE",
        ),
        (None, {}, r"There are no images .*images/\*\.png; give the folder that the archive unpacks to"),
        (_large_id, {"source_list": "no.txt"}, r"There is no list .*no\.txt"),
        (_large_id, {"source_labels": "ides"}, r"Unknown label map 'ides'\. Did you mean 'ids'"),
        (_large_id, {"source_labels": "map.json"}, r"There is no label map map\.json"),
        (_large_id, {"target": "x"}, "target: there is no folder x"),
        (_large_id, {"target_layout": "kitti", "target": "/"}, "Unknown target_layout 'kitti'"),
        (_large_id, {"scales": (0.5, -1)}, "expected at least one factor above 0"),
        (_large_id, {"sliding_window": -1}, "sliding_window is -1"),
    ],
)
def test_what_cannot_work_is_told_before_training(
    root: Path, tmp_path: Path, change: Callable[[Path], None] | None, settings: dict[str, Any], told: str
) -> None:
    if change is not None:
        change(tmp_path)
    with pytest.raises(ConfigError, match=told):
        pairs.make("gta5-cityscapes", **_settings(root, source=tmp_path, **settings))


def test_bad_masks_can_be_skipped_and_are_counted(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _large_id(tmp_path)
    for i in (100, 200, 300):
        image, mask = _scene(IDS)
        save(image, tmp_path / "images" / f"{i:05d}.png")
        save(mask, tmp_path / "labels" / f"{i:05d}.png")
    caplog.set_level("WARNING", "l2o_env")
    pair = pairs.make("gta5-cityscapes", **_settings(root, source=tmp_path, n_validation=1, on_error="skip"))
    assert len(pair.train) + len(pair.validation) == 3
    assert "1 of 4 source images cannot be used and are skipped" in caplog.text


def test_unknown_networks_and_foreign_weights_are_told(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Unknown segmentation network 'fcn8'\. Did you mean 'fcn8s'"):
        pairs.make("gta5-cityscapes", **_settings(root, backbone="fcn8"))
    with pytest.raises(ConfigError, match=r"do not fit FCN8sProxy: .* of another shape: conv1\.0\.weight"):
        pairs.make("gta5-cityscapes", **_settings(root, width=1 / 32))
    torch.save({"features.0.weight": torch.zeros(1, 3, 3, 3)}, tmp_path / "w.pt")
    with pytest.raises(ConfigError, match="have no head; expected those of a whole classification network"):
        pairs.make("gta5-cityscapes", **_settings(root, weights=tmp_path / "w.pt"))
