"""Parts of a table that are kept as soon as each is finished, so that the same command goes on where it was cut off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import l2o_env
from l2o_env.errors import ConfigError
from l2o_env.results.run_folder import PARTS, RunFolder
from l2o_env.results.tables import read_signed, write_signed

if TYPE_CHECKING:
    import pandas as pd

Part = tuple[Mapping[str, Any], Callable[[], "pd.DataFrame"]]
"""What tells a part of a table from others, and what makes it."""
Run = Callable[[Sequence[Callable[[], "pd.DataFrame"]]], Iterable[tuple[int, "pd.DataFrame"]]]
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
        return self.tables([(settings, make)])[0]

    def tables(self, parts: Sequence[Part], run: Run | None = None) -> list[pd.DataFrame]:
        """Several parts, see :meth:`table`; each is kept as soon as it is finished.

        Args:
            parts: Settings of each, and what makes it.
            run: Makes calls, and yields index and value of each as they finish, such as ``Tasks.run``; None makes them
                here, one after the other.

        Raises:
            WriteError: If one cannot be written.
        """
        texts = [json.dumps(RunFolder.as_json(settings), sort_keys=True) for settings, _ in parts]
        found = [self._kept(text) for text in texts]
        missing = [k for k, frame in enumerate(found) if frame is None]
        for i, frame in (run or _one_by_one)([parts[k][1] for k in missing]) if missing else ():
            found[missing[i]] = self._keep(texts[missing[i]], frame)
        return [frame for frame in found if frame is not None]

    def _kept(self, text: str) -> pd.DataFrame | None:
        return None if self.folder is None else read_signed(self.folder.path / _name(text), settings=text)

    def _keep(self, text: str, frame: pd.DataFrame) -> pd.DataFrame:
        if self.folder is None:
            return frame
        self.begin()
        with self.folder.writing(_name(text)) as path:
            write_signed(frame, path, settings=text)
        kept = self._kept(text)
        assert kept is not None
        return kept  # as it will be read


def _name(settings: str) -> str:
    return f"{PARTS}/{hashlib.sha256(settings.encode()).hexdigest()[:20]}.parquet"


def _one_by_one(calls: Sequence[Callable[[], pd.DataFrame]]) -> Iterator[tuple[int, pd.DataFrame]]:
    for k, call in enumerate(calls):
        yield k, call()
