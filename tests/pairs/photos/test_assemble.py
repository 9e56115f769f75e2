"""The data set from its packages: as a whole, in part, and not at all."""

from __future__ import annotations

import csv
import os
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from l2o_env import ConfigError
from l2o_env.pairs.photos.assemble import CUT_OUT_SIDE, PHOTOGRAPH_SIDE, assemble
from tests.pairs.photos.conftest import Packages
from tests.pairs.photos.packages import encoded, write

_Usage = namedtuple("_Usage", "total used free")


def _files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_all_packages_make_all_images(packages: Packages, tmp_path: Path) -> None:
    root, told = tmp_path / "made" / "set", []
    found = assemble(root, [packages.folder], lambda done, total: told.append((done, total)))
    assert [(each.style, each.made) for each in found] == [
        ("fluent", 4), ("noto", 4), ("openclip", 4), ("tuxpaint", 4), ("gcompris", 2),
    ]  # fmt: skip
    assert not any(each.missing or each.other or each.damaged or each.absent for each in found)
    assert told == [(k, 18) for k in range(1, 19)]
    assert len(_files(root)) == 19
    assert {"source/bird/noto-001.png", "target/fish/gcompris-000.jpg", "origins.csv"} <= set(_files(root))
    for path in root.glob("source/*/*.png"):
        image = Image.open(path)
        assert (image.mode, image.size) == ("RGBA", (CUT_OUT_SIDE,) * 2)
        left, top, right, bottom = image.getchannel("A").getbbox() or (0,) * 4
        assert max(right - left, bottom - top) == CUT_OUT_SIDE  # without the margin
    for path in root.glob("target/*/*.jpg"):
        image = Image.open(path)
        assert (image.mode, image.size) == ("RGB", (PHOTOGRAPH_SIDE,) * 2)
        corner = np.asarray(image)[0, 0].tolist()
        grey = path.name.startswith("tuxpaint")
        assert corner == pytest.approx([236] * 3 if grey else [10, 200, 30], abs=6)
    assert not list(root.parent.glob(".*"))


def test_origins_are_written_down(packages: Packages, tmp_path: Path) -> None:
    assemble(tmp_path / "set", [packages.folder])
    with (tmp_path / "set" / "origins.csv").open(newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert rows["target/bird/gcompris-000.jpg"] == {
        "file": "target/bird/gcompris-000.jpg",
        "package": "Debian gcompris-qt-data",
        "original": "explore/resource/green.webp",
        "licence": "CC0-1.0",
    }
    assert rows["source/fish/fluent-000.png"]["licence"] == "MIT"


def test_without_some_packages_it_makes_what_it_can(packages: Packages, tmp_path: Path) -> None:
    shutil.rmtree(packages.folder / "npm")
    shutil.rmtree(packages.folder / "deb/usr/share/gcompris-qt")
    found = assemble(tmp_path / "set", [packages.folder])
    assert [each.style for each in found if each.absent] == ["fluent", "gcompris"]
    assert {path.name.split("-")[0] for path in (tmp_path / "set").rglob("*.*g")} == {"noto", "openclip", "tuxpaint"}


def test_other_and_damaged_images_are_counted(packages: Packages, tmp_path: Path) -> None:
    clips = packages.folder / "deb/usr/share/openclipart/png/animals"
    write(clips / "bird_0.png", encoded((9, 9), (1, 2, 3)))
    write(clips / "fish_0.png", b"no image")
    (clips / "fish_1.png").unlink()
    found = {each.style: each for each in assemble(tmp_path / "set", [packages.folder])}["openclip"]
    assert (found.made, found.other) == (2, ["animals/bird_0.png"])
    assert (found.damaged, found.missing) == (["animals/fish_0.png"], ["animals/fish_1.png"])


def test_a_package_that_is_unpacked_in_part_is_told_and_nothing_is_made(packages: Packages, tmp_path: Path) -> None:
    for name in ("bird_0", "bird_1", "fish_0"):
        (packages.folder / f"deb/usr/share/openclipart/png/animals/{name}.png").unlink()
    with pytest.raises(ConfigError, match=r"openclipart-png was found, with 1 of the 4 images .* unpacked as a whole"):
        assemble(tmp_path / "sets" / "set", [packages.folder])
    assert not list((tmp_path / "sets").iterdir())


@pytest.mark.parametrize(
    ("gone", "told"), [(("npm", "deb/usr/share/openclipart"), "is one"), (("npm", "deb"), "is none")]
)
def test_one_style_is_not_enough(packages: Packages, tmp_path: Path, gone: tuple[str, ...], told: str) -> None:
    for name in gone:
        shutil.rmtree(packages.folder / name)
    with pytest.raises(ConfigError, match=f"Two packages of cut-outs are needed, .* there {told}") as caught:
        assemble(tmp_path / "sets" / "set", [packages.folder])
    assert "apt install openclipart-png" in str(caught.value)
    assert not list((tmp_path / "sets").iterdir())


def test_a_data_set_is_replaced_as_a_whole_and_anything_else_is_left(
    packages: Packages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "set"
    assemble(root, [packages.folder])
    write(root / "old.txt", b"of before")
    before = _files(root)
    with monkeypatch.context() as broken:
        broken.setattr(Image.Image, "save", lambda *args, **kwargs: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space left"):
            assemble(root, [packages.folder])
    assert _files(root) == before and not list(tmp_path.glob(".*"))
    assemble(root, [packages.folder])
    assert "old.txt" not in _files(root)
    other = write(tmp_path / "mine" / "file.txt", b"x").parent
    with pytest.raises(ConfigError, match=r"mine holds something that `l2o data` did not make; name another folder"):
        assemble(other, [packages.folder])
    assert os.listdir(other) == ["file.txt"]


def test_without_room_nothing_is_begun(packages: Packages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: _Usage(2**30, 2**30, 5 * 2**20))
    with pytest.raises(ConfigError, match=r"There are 5 MiB free at .*; the data set takes up to 64"):
        assemble(tmp_path / "sets" / "set", [packages.folder])
    assert not list((tmp_path / "sets").iterdir())
