"""Label maps against the published lists of labels, written down by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from l2o_env import ConfigError
from l2o_env.pairs.images.image_split import UnreadableError
from l2o_env.pairs.images.label_maps import CITYSCAPES_CLASSES, LABEL_MAPS, LabelMap, label_map

CITYSCAPES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
CITYSCAPES_LABELS = (
    "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road", "sidewalk",
    "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole", "polegroup",
    "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus",
    "caravan", "trailer", "train", "motorcycle", "bicycle", "license plate",
)  # fmt: skip
"""All labels in the order of their ids; GTA5 has the license plate as 34, Cityscapes as -1."""
MAPILLARY_LABELS = (
    "Bird", "Ground Animal", "Curb", "Fence", "Guard Rail", "Barrier", "Wall", "Bike Lane", "Crosswalk - Plain",
    "Curb Cut", "Parking", "Pedestrian Area", "Rail Track", "Road", "Service Lane", "Sidewalk", "Bridge", "Building",
    "Tunnel", "Person", "Bicyclist", "Motorcyclist", "Other Rider", "Lane Marking - Crosswalk",
    "Lane Marking - General", "Mountain", "Sand", "Sky", "Snow", "Terrain", "Vegetation", "Water", "Banner", "Bench",
    "Bike Rack", "Billboard", "Catch Basin", "CCTV Camera", "Fire Hydrant", "Junction Box", "Mailbox", "Manhole",
    "Phone Booth", "Pothole", "Street Light", "Pole", "Traffic Sign Frame", "Utility Pole", "Traffic Light",
    "Traffic Sign (Back)", "Traffic Sign (Front)", "Trash Can", "Bicycle", "Boat", "Bus", "Car", "Caravan",
    "Motorcycle", "On Rails", "Other Vehicle", "Trailer", "Truck", "Wheeled Slow", "Car Mount", "Ego Vehicle",
    "Unlabeled",
)  # fmt: skip
MAPILLARY = {
    "Road": "road", "Lane Marking - General": "road", "Manhole": "road", "Sidewalk": "sidewalk", "Curb": "sidewalk",
    "Building": "building", "Wall": "wall", "Fence": "fence", "Pole": "pole", "Utility Pole": "pole",
    "Traffic Light": "traffic light", "Traffic Sign (Front)": "traffic sign", "Vegetation": "vegetation",
    "Terrain": "terrain", "Sky": "sky", "Person": "person", "Bicyclist": "rider", "Motorcyclist": "rider",
    "Other Rider": "rider", "Car": "car", "Truck": "truck", "Bus": "bus", "On Rails": "train",
    "Motorcycle": "motorcycle", "Bicycle": "bicycle",
}  # fmt: skip


def _by_name(name: str, labels: tuple[str, ...]) -> dict[str, str | None]:
    """What a map makes of each label, by names; None for no class."""
    found = LABEL_MAPS[name].apply(np.arange(len(labels))[None], Path("m.png"))[0]
    return {label: None if k == 255 else CITYSCAPES[k] for label, k in zip(labels, found.tolist(), strict=True)}


def test_the_classes_are_those_that_cityscapes_evaluates() -> None:
    assert CITYSCAPES_CLASSES == CITYSCAPES


def test_ids_of_cityscapes_and_gta5() -> None:
    expected = {label: label if label in CITYSCAPES else None for label in CITYSCAPES_LABELS}
    assert _by_name("ids", CITYSCAPES_LABELS) == expected


def test_train_ids_are_class_indices() -> None:
    values = np.arange(20)[None]
    assert LABEL_MAPS["train_ids"].apply(values, Path("m.png")).tolist() == [[*range(19), 255]]


def test_labels_of_mapillary_vistas() -> None:
    assert len(MAPILLARY_LABELS) == 66
    assert _by_name("mapillary", MAPILLARY_LABELS) == {label: MAPILLARY.get(label) for label in MAPILLARY_LABELS}


@pytest.mark.parametrize(("name", "first_unknown"), [("ids", 35), ("train_ids", 20), ("mapillary", 66)])
def test_void_is_no_class_and_what_is_not_in_the_list_is_told(name: str, first_unknown: int) -> None:
    assert LABEL_MAPS[name].apply(np.array([[255]]), Path("m.png")).tolist() == [[255]]
    values = np.array([[first_unknown - 1, first_unknown, -1, 254, 70_000]])
    with pytest.raises(UnreadableError, match=rf"m\.png holds the label ids \[-1, {first_unknown}, 254, 70000\]"):
        LABEL_MAPS[name].apply(values, Path("m.png"))


def test_ones_own_map(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"7": 3, "8": None}))
    assert label_map(path).apply(np.array([[7, 8, 255]]), Path("m.png")).tolist() == [[3, 255, 255]]
    with pytest.raises(UnreadableError, match=r"holds the label ids \[9\], which the label map .*map\.json"):
        label_map(path).apply(np.array([[9]]), Path("m.png"))
    with pytest.raises(ConfigError, match="maps -3 to 1; expected a value from 0"):
        LabelMap({-3: 1})
    with pytest.raises(ConfigError, match="maps 3 to 255; expected a value from 0"):
        LabelMap({3: 255})
