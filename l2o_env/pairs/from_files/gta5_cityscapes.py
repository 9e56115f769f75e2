"""GTA5 to Cityscapes, BDD100K or Mapillary Vistas: street scenes with the 19 classes of Cityscapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2o_env.errors import ConfigError, unknown_name
from l2o_env.pairs.from_files.segmented import build_dense_pair
from l2o_env.pairs.from_files.settings import DenseSettings
from l2o_env.pairs.images.label_maps import CITYSCAPES_CLASSES, label_map
from l2o_env.pairs.images.listing import Listing, existing_folder, read_columns
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.spec import from_keywords

FRAMES = 10
"""GTA5 was recorded as a drive: so many consecutive frames are held out together, because neighbours show one place.
Longer stretches would make V a matter of a few places; of these, the default 100 validation images are ten."""
_TRAIN_IDS = ("_labelTrainIds", "_train_id")
"""How names of masks with train ids end, of Cityscapes and of BDD100K."""
Files = tuple[list[Path], list[Path]]


@dataclass(frozen=True)
class StreetSettings(DenseSettings):
    """Settings of ``gta5-cityscapes``, ``gta5-bdd100k`` and ``gta5-mapillary``.

    Attributes:
        source: Folder of GTA5, with ``images/`` and ``labels/``.
        source_list: File that lists its images: a name, or image and mask relative to ``source``, on each line.
        source_labels: What its masks hold: ``"ids"``, ``"train_ids"``, ``"mapillary"``, or a JSON file.
        target: Folder of the real images; None: there is no real accuracy.
        target_layout: ``"cityscapes"``, ``"bdd100k"`` or ``"mapillary"``.
        target_split: ``"val"`` or another folder of it.
        target_list: File that lists them: image and mask relative to ``target`` on each line.
        target_labels: What the target's masks hold; ``"auto"``: what the layout says.
    """

    source: str | Path = ""
    source_list: str | Path | None = None
    source_labels: str | Path = "ids"
    target: str | Path | None = None
    target_layout: str = "cityscapes"
    target_split: str = "val"
    target_list: str | Path | None = None
    target_labels: str | Path = "auto"

    def __post_init__(self) -> None:
        """Raises ``ConfigError`` if a value cannot work."""
        super().__post_init__()
        if self.target_layout not in _LAYOUTS:
            raise unknown_name("target_layout", self.target_layout, _LAYOUTS)


def settings_of(name: str, keywords: Mapping[str, Any]) -> StreetSettings:
    """Settings of a pair of street scenes from keywords; its name says the target's layout, unless they have one.

    Raises:
        ConfigError: If there is no such setting, or it cannot work.
    """
    settings = from_keywords(StreetSettings, name, {"target_layout": name.removeprefix("gta5-"), **keywords})
    if settings.source == "":
        raise ConfigError(f"The pair {name!r} needs the folder of GTA5: {name}:source=…,target=…")
    return settings


def build(name: str, settings: StreetSettings) -> Pair:
    """Builds a pair of street scenes: mIoU over 19 classes by sliding window.

    Raises:
        ConfigError: If folders, lists or images cannot work.
    """
    listed = settings.source_list is not None
    source = _listing(*_gta5(settings), settings.source_labels, "source images", sequences, listed=listed)
    target = None
    if settings.target is not None:
        images, masks, labels = _target(settings)
        target = _listing(images, masks, labels, "target images", listed=settings.target_list is not None)
    return build_dense_pair(name, settings, source, target)


def _listing(
    images: Sequence[Path],
    masks: Sequence[Path],
    labels: str | Path,
    name: str,
    groups: Callable[[Sequence[Path]], list[str]] | None = None,
    *,
    listed: bool,
) -> Listing:
    missing = [path for path in (*images, *masks) if not path.is_file()]
    if missing:
        setting = f"{name.split()[0]}_list"
        other = f"take them out of {setting}" if listed else f"list the images to take in a file: {setting}=FILE"
        raise ConfigError(
            f"Of the {name} these files are missing: {len(missing)}, such as {missing[0]}. Unpack the whole archives, "
            f"or {other}."
        )
    together = None if groups is None else groups(images)
    return Listing(images, masks, CITYSCAPES_CLASSES, together, label_map(labels), name)


def sequences(images: Sequence[Path]) -> list[str]:
    """Which frames of GTA5 belong together, by their numbers; images whose name is no number stand alone."""
    return [str(int(p.stem) // FRAMES) if p.stem.isdigit() else p.stem for p in images]


def _gta5(settings: StreetSettings) -> Files:
    root = existing_folder(settings.source, "source")
    if settings.source_list is not None:
        return _listed(root, Path(settings.source_list), lambda name: ("images/" + name, "labels/" + name))
    images = _found(root, "images/*.png")
    return images, [root / "labels" / path.name for path in images]


def _target(settings: StreetSettings) -> tuple[list[Path], list[Path], str | Path]:
    assert settings.target is not None
    root = existing_folder(settings.target, "target")
    if settings.target_list is not None:
        images, masks = _listed(root, Path(settings.target_list))
        of_train_ids = masks[0].stem.endswith(_TRAIN_IDS)
        labels = "train_ids" if of_train_ids else _LAYOUTS[settings.target_layout][1]
    else:
        images, masks, labels = _LAYOUTS[settings.target_layout][0](root, settings.target_split)
    return images, masks, labels if settings.target_labels == "auto" else settings.target_labels


def _cityscapes(root: Path, split: str) -> tuple[list[Path], list[Path], str]:
    """``leftImg8bit/val/CITY/*_leftImg8bit.png`` and ``gtFine/val/CITY/*_gtFine_label{Train,}Ids.png``."""
    images = _found(root, f"leftImg8bit/{split}/*/*_leftImg8bit.png", split)
    stems = [root / "gtFine" / split / p.parent.name / p.stem.removesuffix("_leftImg8bit") for p in images]
    train_ids, ids = (
        [stem.with_name(f"{stem.name}_gtFine_{suffix}.png") for stem in stems]
        for suffix in ("labelTrainIds", "labelIds")
    )
    return (images, train_ids, "train_ids") if train_ids[0].is_file() else (images, ids, "ids")


def _bdd100k(root: Path, split: str) -> tuple[list[Path], list[Path], str]:
    """``images/10k/val/*.jpg`` and ``labels/sem_seg/masks/val/*.png``, or ``seg/images`` and ``seg/labels``."""
    if (root / "seg" / "images").is_dir():
        images = _found(root, f"seg/images/{split}/*.jpg", split)
        return images, [root / "seg" / "labels" / split / f"{p.stem}_train_id.png" for p in images], "train_ids"
    images = _found(root, f"images/10k/{split}/*.jpg", split)
    return images, [root / "labels" / "sem_seg" / "masks" / split / f"{p.stem}.png" for p in images], "train_ids"


def _mapillary(root: Path, split: str) -> tuple[list[Path], list[Path], str]:
    """``validation/images/*.jpg`` and ``validation/labels/*.png``, or ``validation/v1.2/labels``."""
    folder = root / {"val": "validation", "train": "training"}.get(split, split)
    images = _found(folder, "images/*.jpg", split)
    labels = folder / "v1.2" / "labels" if (folder / "v1.2").is_dir() else folder / "labels"
    return images, [labels / f"{p.stem}.png" for p in images], "mapillary"


_LAYOUTS: dict[str, tuple[Callable[[Path, str], tuple[list[Path], list[Path], str]], str]] = {
    "cityscapes": (_cityscapes, "ids"),
    "bdd100k": (_bdd100k, "train_ids"),
    "mapillary": (_mapillary, "mapillary"),
}


def _found(root: Path, pattern: str, split: str | None = None) -> list[Path]:
    images = sorted(root.glob(pattern))
    if not images:
        other = "" if split is None else f", or another target_split than {split!r}"
        raise ConfigError(f"There are no images {root / pattern}; give the folder that the archive unpacks to{other}.")
    return images


def _listed(root: Path, path: Path, both: Callable[[str], tuple[str, str]] | None = None) -> Files:
    """Images and masks of a list; one column is completed by `both`."""
    path = path.expanduser() if path.expanduser().is_absolute() else root / path
    rows = read_columns(path, (1, 2) if both is not None else (2,))
    if both is not None:
        rows = [row if len(row) == 2 else list(both(row[0].removeprefix("images/"))) for row in rows]
    return [root / row[0] for row in rows], [root / row[1] for row in rows]
