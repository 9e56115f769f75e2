"""Images from where packages have them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from l2o_env import ConfigError
from l2o_env.pairs.photos.manifest import ORIGINS
from l2o_env.pairs.photos.packages import find, opened
from tests.pairs.photos.conftest import Packages
from tests.pairs.photos.packages import write


def test_every_image_is_read_as_it_is(packages: Packages) -> None:
    for entry in packages.entries:
        reader = find(entry.style, [packages.folder])
        assert reader is not None
        content = reader.read(entry.original)
        assert content is not None and hashlib.sha256(content).hexdigest()[:16] == entry.sha256
        assert opened(content).mode == "RGBA"


@pytest.mark.parametrize("style", list(ORIGINS))
def test_packages_are_found_wherever_they_were_unpacked(
    packages: Packages, style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deb, npm = packages.folder / "deb", packages.folder / "npm"
    assert find(style, []) is None
    for folders in ([packages.folder], [tmp_path / "nothing", deb, npm], [deb / "usr", npm / "package"]):
        assert find(style, folders) is not None
    shutil.copytree(deb, tmp_path / "system")
    monkeypatch.setattr("l2o_env.pairs.photos.packages.SYSTEM", tmp_path / "system")
    assert (find(style, []) is None) == (style == "fluent")  # npm's are installed nowhere in particular


@pytest.mark.parametrize(
    ("style", "name"),
    [("fluent", "1f9ff"), ("noto", "1f9ff"), ("openclip", "animals/no.png"), ("gcompris", "explore/resource/no.webp"),
     ("gcompris", "other/resource/no.webp")],
)  # fmt: skip
def test_what_a_package_lacks_is_none(packages: Packages, style: str, name: str) -> None:
    reader = find(style, [packages.folder])
    assert reader is not None and reader.read(name) is None


def test_gcompris_says_the_licence_of_each(packages: Packages) -> None:
    reader = find("gcompris", [packages.folder])
    assert reader is not None
    assert reader.licence("explore/resource/green.webp") == "CC0-1.0"
    assert reader.licence("explore/resource/blue.webp") == "CC-BY-SA-4.0"
    assert reader.licence("explore/resource/red.webp") == ""


def test_a_font_that_is_none_or_has_no_pictures_is_told(packages: Packages) -> None:
    from fontTools.ttLib import TTFont

    path = packages.folder / "deb/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
    font = TTFont(path)
    for table in ("CBDT", "CBLC"):
        del font[table]
    font.save(path)
    reader = find("noto", [packages.folder])
    assert reader is not None
    with pytest.raises(ConfigError, match=r"NotoColorEmoji\.ttf has no pictures \(table CBDT\)"):
        reader.read("1f400")
    write(path, b"no font")
    again = find("noto", [packages.folder])
    assert again is not None
    with pytest.raises(ConfigError, match=r"NotoColorEmoji\.ttf cannot be read as a font"):
        again.read("1f400")
