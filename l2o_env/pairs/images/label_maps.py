"""Label maps: what the values of a mask mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l2o_env.errors import ConfigError, reading, require_integer, unknown_name
from l2o_env.pairs.augmentation import VOID
from l2o_env.pairs.images.image_split import UnreadableError
from l2o_env.safe_json import read_object

_MAX_ID = 2**16 - 1

CITYSCAPES_CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""The 19 classes that Cityscapes evaluates, in the order of their train ids."""


@dataclass(frozen=True)
class LabelMap:
    """Which class each value of a mask is.

    Attributes:
        classes: Class index by value.
        ignored: Values that stand for no class.
        name: What messages call it.
        advice: What to do about values that it does not have.
    """

    classes: Mapping[int, int]
    ignored: frozenset[int] = frozenset({VOID})
    name: str = "label map"
    advice: str = "give another label map"

    def __post_init__(self) -> None:
        """Raises ``ConfigError`` if a value or a class cannot be."""
        for value, index in self.classes.items():
            if not 0 <= value <= _MAX_ID or not 0 <= index < VOID:
                raise ConfigError(
                    f"{self.name} maps {value!r} to {index!r}; expected a value from 0 to a class from 0."
                )

    @cached_property
    def _table(self) -> NDArray[np.int16]:
        table = np.full(_MAX_ID + 1, -1, np.int16)
        table[[v for v in self.ignored if 0 <= v <= _MAX_ID]] = VOID
        for value, index in self.classes.items():
            table[value] = index
        return table

    def apply(self, values: NDArray[np.int64], path: Path) -> NDArray[np.uint8]:
        """Class indices ``(height, width)``, 255 for none.

        Args:
            values: What the mask holds.
            path: Its file, for messages.

        Raises:
            UnreadableError: If a value is not in the map.
        """
        indices = self._table[np.clip(values, 0, _MAX_ID)]
        unknown = np.unique(values[(indices < 0) | (values < 0) | (values > _MAX_ID)])
        if len(unknown):
            raise UnreadableError(
                f"The mask {path} holds the label ids {unknown[:10].tolist()}, which the {self.name} does not have; "
                f"{self.advice}."
            )
        return indices.astype(np.uint8)


def _identity(n: int) -> dict[int, int]:
    return {i: i for i in range(n)}


_CITYSCAPES_IDS = dict(
    zip((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33), range(19), strict=True)
)
# Mapillary Vistas 1.2: the 25 of its 66 values that RobustNet (Choi et al., CVPR 2021) counts, so that figures can be
# set beside those published for GTA5 to Mapillary. It leaves out crosswalks, which are road in Cityscapes.
_MAPILLARY = {
    13: 0, 24: 0, 41: 0, 2: 1, 15: 1, 17: 2, 6: 3, 3: 4, 45: 5, 47: 5, 48: 6, 50: 7, 30: 8, 29: 9, 27: 10,
    19: 11, 20: 12, 21: 12, 22: 12, 55: 13, 61: 14, 54: 15, 58: 16, 57: 17, 52: 18,
}  # fmt: skip

LABEL_MAPS: dict[str, LabelMap] = {
    "ids": LabelMap(
        _CITYSCAPES_IDS, frozenset({*range(35), VOID}) - set(_CITYSCAPES_IDS), "label map of Cityscapes ids"
    ),
    "train_ids": LabelMap(_identity(19), frozenset({19, VOID}), "label map of Cityscapes train ids"),
    "mapillary": LabelMap(_MAPILLARY, frozenset({*range(66), VOID}) - set(_MAPILLARY), "label map of Mapillary ids"),
}
"""Label maps to the 19 Cityscapes classes: of Cityscapes and GTA5 label ids, of train ids, of Mapillary Vistas 1.2."""


def label_map(name: str | Path, n_classes: int = len(CITYSCAPES_CLASSES)) -> LabelMap:
    """A label map by name, or from a JSON file ``{"value": class index or null}``.

    Raises:
        ConfigError: If there is none of that name, or the file holds something else, or classes from `n_classes` on.
    """
    if str(name) in LABEL_MAPS:
        return LABEL_MAPS[str(name)]
    path = Path(name).expanduser()
    if path.suffix != ".json":
        raise unknown_name("label map", str(name), [*LABEL_MAPS, "FILE.json"])
    expected = "expected JSON: label ids to class indices, or to null."
    try:
        found = read_object(path, expected)
    except FileNotFoundError as error:
        raise ConfigError(f"There is no label map {path}; {expected}") from error
    with reading(path, expected):
        classes = {int(key): value for key, value in found.items()}
        known = {
            key: require_integer(
                f"the class of {key}", value, 0, n_classes - 1, expected=f"a class from 0 to {n_classes - 1}, or null"
            )
            for key, value in classes.items()
            if value is not None
        }
    return LabelMap(known, frozenset({VOID, *classes}) - set(known), f"label map {path}")
