"""Files inside Qt's resource files (``.rcc``), which is how GCompris keeps its pictures."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from l2o_env.errors import ConfigError

_COMPRESSED, _FOLDER, _ZSTANDARD = 1, 2, 4
_DEPTH = 32
_LARGEST = 64 * 2**20


class QtResources:
    """The files of a resource file, by path.

    Args:
        path: The resource file.

    Raises:
        ConfigError: If it is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bytes = path.read_bytes()
        try:
            magic, version, self._tree, self._data, self._names = struct.unpack_from(">4s4I", self._bytes)
            if magic != b"qres" or version not in (1, 2, 3):
                raise ConfigError(f"{path} is no Qt resource file of the versions 1 to 3.")
            self._node = 14 if version == 1 else 22
            self._files = dict(self._walk(0, "", _DEPTH))
        except struct.error as error:
            raise self._damaged() from error

    def __contains__(self, name: str) -> bool:
        """Whether there is such a file."""
        return name in self._files

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            KeyError: If there is none of that path.
            ConfigError: If it cannot be unpacked.
        """
        flags, offset = self._files[name]
        try:
            (size,) = struct.unpack_from(">I", self._bytes, self._data + offset)
        except struct.error as error:
            raise self._damaged() from error
        content = self._bytes[self._data + offset + 4 :][:size]
        if flags & _ZSTANDARD:
            raise ConfigError(f"{name} in {self._path} is packed with Zstandard, which is not read here.")
        if not flags & _COMPRESSED:
            return content
        try:
            return zlib.decompressobj().decompress(content[4:], _LARGEST)
        except zlib.error as error:
            raise self._damaged() from error

    def _walk(self, node: int, folder: str, depth: int) -> Iterator[tuple[str, tuple[int, int]]]:
        """Files below a node of the tree: their flags, and where their content is."""
        at = self._tree + node * self._node
        name, flags, first, second = struct.unpack_from(">IHII", self._bytes, at)
        path = folder + self._name(name) if node else ""
        if not flags & _FOLDER:
            yield path, (flags, second)
            return
        if depth == 0 or second + first > len(self._bytes):
            raise self._damaged()
        for child in range(second, second + first):
            yield from self._walk(child, f"{path}/" if path else "", depth - 1)

    def _name(self, offset: int) -> str:
        length, _ = struct.unpack_from(">HI", self._bytes, self._names + offset)
        start = self._names + offset + 6
        return self._bytes[start : start + 2 * length].decode("utf-16-be", errors="replace")

    def _damaged(self) -> ConfigError:
        return ConfigError(f"{self._path} is damaged; install its package again.")
