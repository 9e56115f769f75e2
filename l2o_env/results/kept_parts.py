"""Parts of a table that are kept as soon as each is finished, so that the same command goes on where it was cut off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import l2o_env
from l2o_env.errors import ConfigError
from l2o_env.results.run_folder import PARTS, RunFolder

if TYPE_CHECKING:
    import pandas as pd

_ARGUMENTS = "arguments.json"


class KeptParts:
    """What is finished of a command whose results are tables.

    Args:
        folder: The command's folder, claimed; None keeps nothing.
        arguments: What the command was called with, as text.
    """

    def __init__(self, folder: RunFolder | None = None, arguments: str = "") -> None:
        self.folder = folder
        self._arguments = arguments

    @classmethod
    @contextmanager
    def opened(cls, out: Path | None, arguments: Mapping[str, Any]) -> Iterator[KeptParts]:
        """Claims a new folder, or that of the same command, which goes on then; it is given free at the end.

        Args:
            out: The folder; None keeps nothing.
            arguments: What the command was called with.

        Raises:
            ConfigError: If the folder is in use, or holds anything but parts of the very command.
        """
        if out is None:
            yield cls()
            return
        text = json.dumps({"version": l2o_env.__version__, **RunFolder.as_json(arguments)}, sort_keys=True)
        written = out.expanduser() / PARTS / _ARGUMENTS
        if written.is_file():
            folder = RunFolder(out.expanduser())
            folder.claim()
            if written.read_text(encoding="utf-8", errors="replace") != text:
                folder.release()
                raise ConfigError(
                    f"The folder {out} holds results of another command, or of another version; name another folder."
                )
            folder.remove_remains()
        else:
            folder = RunFolder.create(out)
        try:
            yield cls(folder, text)
        finally:
            folder.remove_if_empty()

    def begin(self) -> None:
        """Says whose folder it is; before anything is kept in it.

        Raises:
            WriteError: If it cannot be written.
        """
        if self.folder is not None and not (self.folder.path / PARTS / _ARGUMENTS).exists():
            with self.folder.guard(PARTS) as path:
                path.mkdir(exist_ok=True)
            self.folder.write_text(f"{PARTS}/{_ARGUMENTS}", self._arguments)

    def table(self, settings: Mapping[str, Any], make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """A part: what is kept of it, or else what `make` returns, which is kept then.

        Args:
            settings: What tells it from the folder's other parts, and what it depends on beside the command's
                arguments, such as the images of a pair.
            make: Makes it.

        Raises:
            WriteError: If it cannot be written.
        """
        if self.folder is None:
            return make()
        text = json.dumps(RunFolder.as_json(settings), sort_keys=True)
        name = f"{PARTS}/{hashlib.sha256(text.encode()).hexdigest()[:20]}.parquet"
        found = _read(self.folder.path / name, text)
        if found is None:
            found = make()
            self.begin()
            with self.folder.writing(name) as path:
                found = _write(path, text, found)
        return found


def _write(path: Path, settings: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Writes a part; returns it as it will be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False)
    frame = table.to_pandas()
    metadata = {**table.schema.metadata, b"settings": settings.encode(), b"digest": _digest(frame)}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return frame


def _read(path: Path, settings: str) -> pd.DataFrame | None:
    """A part as it was written; None if there is none, or it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        frame = table.to_pandas()
    except (pa.ArrowException, OSError, ValueError, KeyError):
        return None
    metadata = table.schema.metadata or {}
    good = metadata.get(b"settings") == settings.encode() and metadata.get(b"digest") == _digest(frame)
    return frame if good else None


def _digest(frame: pd.DataFrame) -> bytes:
    """Of the names, types and values of a table."""
    from pandas.util import hash_pandas_object

    digest = hashlib.sha256(repr(list(frame.dtypes.astype(str).items())).encode())
    digest.update(hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest().encode()
