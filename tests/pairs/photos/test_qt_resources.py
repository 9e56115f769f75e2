"""Files inside Qt's resource files."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from l2o_env import ConfigError
from l2o_env.pairs.photos.qt_resources import QtResources
from tests.pairs.photos.packages import resource_file

FILES = {"a/one.txt": b"first", "a/b/two.bin": bytes(range(256)) * 4, "three": b""}


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_files_are_read_by_their_paths(tmp_path: Path, version: int, packed: bool) -> None:
    path = tmp_path / "x.rcc"
    path.write_bytes(resource_file(FILES, version, packed))
    found = QtResources(path)
    assert {name: found.read(name) for name in FILES} == FILES
    assert "a/one.txt" in found and "a" not in found and "a/b" not in found
    with pytest.raises(KeyError):
        found.read("a/none")


def test_what_is_no_resource_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.rcc"
    for content in (b"zres" + bytes(40), struct.pack(">4s4I", b"qres", 9, 0, 0, 0)):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"x\.rcc is no Qt resource file of the versions 1 to 3"):
            QtResources(path)


def test_any_cut_or_changed_file_is_an_error_or_read_never_a_crash(tmp_path: Path) -> None:
    whole, path = resource_file(FILES, 3, True), tmp_path / "x.rcc"
    outcomes = set()
    for k in range(0, len(whole), 7):
        for content in (whole[:k], whole[:k] + bytes([whole[k] ^ 255]) + whole[k + 1 :]):
            path.write_bytes(content)
            try:
                found = QtResources(path)
                outcomes |= {found.read(name)[:1] and "read" for name in FILES if name in found}
            except ConfigError as error:
                assert len(str(error)) < 200 + len(str(path))
                outcomes.add("told")
    assert {"read", "told"} <= outcomes


def test_a_loop_of_folders_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.rcc"
    whole = bytearray(resource_file({"a/b": b"x"}, 1, False))
    (tree,) = struct.unpack_from(">I", whole, 8)
    struct.pack_into(">I", whole, tree + 14 + 10, 1)  # the folder's first child is itself
    path.write_bytes(whole)
    with pytest.raises(ConfigError, match="is damaged; install its package again"):
        QtResources(path)


def test_zstandard_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.rcc"
    path.write_bytes(resource_file({"a": b"x"}, 3, False, flags=4))
    with pytest.raises(ConfigError, match=r"a in .* is packed with Zstandard, which is not read here"):
        QtResources(path).read("a")
