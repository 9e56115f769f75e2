"""The folder that a run leaves behind, and what its files are called."""

from __future__ import annotations

import errno
import json
import math
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from l2o_env.atomic import atomic_path
from l2o_env.errors import ConfigError

CONFIG_FILE = "config.json"
"""Settings of a training run."""
EVALUATION_FILE = "evaluation.json"
"""Settings of an evaluation."""
POLICY, BEST_POLICY, CHECKPOINTS = "policy", "policy-best", "checkpoints"
"""Folders of the policy that training ended with, of its best checkpoint, and of all checkpoints."""
EVENTS = "events"
"""Folder of TensorBoard's events."""
RECORDING = "actions.parquet"
"""What was done to each layer at each step."""
RESULTS_TABLE, RESULTS_PARQUET, RESULTS_JSON = "results.csv", "results.parquet", "results.json"
"""One row per evaluated episode, the same as Parquet, and what a training run came to in few numbers."""
SUMMARY = "summary.md"
ABLATIONS = "ablations.csv"
"""What an evaluation says, as text."""
PARTS, TUNED_FOLDER = "parts", "tuned"
"""Folders of an evaluation with what is finished: parts of it, and opponents that were tuned for it."""
_REMAINS = ".*-*.tmp*"
"""Names of files that are being written."""
LEARNING_CURVE_PICTURE, ACTIONS_PICTURE, ATTENTION_PICTURE = "learning_curve.png", "actions.png", "attention.png"
"""Pictures of a training run: its returns, what the policy does, and where fine-tuned networks look."""
CHECKPOINT = "checkpoint.safetensors"
"""All that a fine-tuning goes on from."""
NETWORK, ONNX = "network.safetensors", "network.onnx"
"""The plain network that a fine-tuning came to."""
STATES = "state"
"""Folder of what a training that is cut off goes on from; a finished one has none."""
LOCK = ".lock"
"""File that a process which writes to the folder holds."""
PLOTS, PAGE = "plots", "report.html"
"""What ``l2o plot`` and ``l2o report`` leave."""


class WriteError(OSError):
    """Something of a run folder could not be written; what stood there before is as it was."""


class RunFolder:
    """A folder of results, each of which is there as a whole or not at all.

    Args:
        path: The folder; :meth:`create` makes a new one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: FileLock | None = None

    @classmethod
    def create(cls, out: str | os.PathLike[str] | None = None, *, root: str | os.PathLike[str] = "runs") -> RunFolder:
        """Makes the folder of a new run, and claims it; see :meth:`claim`.

        Args:
            out: The folder. It may exist if it is empty. None: a new one under `root`, named by date and time.
            root: Where folders named by date and time go.

        Raises:
            ConfigError: If the folder holds something already, is another run's, or cannot be made or written to.
        """
        folder = cls(_dated(Path(root)) if out is None else Path(out).expanduser())
        folder.claim()
        path = folder.path
        held = [each for each in path.iterdir() if each.name != LOCK]
        if all(each.match(_REMAINS) and each.is_file() for each in held):  # of a run that was killed as it began
            folder.remove_remains()
        else:
            folder.release()
            if (path / STATES).is_dir():
                command = f"l2o train --resume {shlex.quote(str(path))}"
                raise ConfigError(
                    f"The run folder {path} holds a training that was cut off; `{command}` goes on with it. For a new "
                    "one name another folder."
                )
            raise ConfigError(
                f"The run folder {path} exists and is not empty; name another one, "
                "or move away what is there, so that no two runs are mixed up."
            )
        return folder

    def claim(self) -> None:
        """Makes the folder if it is not there, and keeps other processes from writing to it until :meth:`release`.

        The claim ends with the process, however that ends.

        Raises:
            ConfigError: If another run has it, or it cannot be made or written to.
        """
        lock = FileLock(self.path / LOCK)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ConfigError(
                f"Another run is writing to the folder {self.path}; wait for its end, or name another folder."
            ) from error
        except OSError as error:
            raise ConfigError(
                f"The run folder {self.path} cannot be used: {_reason(error)}. Name a folder that you may write to."
            ) from error
        self._lock = lock

    def release(self) -> None:
        """Ends the claim; nothing is left of it."""
        if self._lock is not None:
            (self.path / LOCK).unlink(missing_ok=True)  # first, so that it is nobody else's
            self._lock.release()
            self._lock = None

    def remove_remains(self) -> None:
        """Takes away what writing that was cut off, by a killed process, has left in the folder: temporary files."""
        for path in self.path.rglob(_REMAINS):
            path.unlink(missing_ok=True)

    def remove_if_empty(self) -> None:
        """Ends the claim, and takes the folder away again if nothing was written to it."""
        self.release()
        with suppress(OSError):
            self.path.rmdir()

    def discard(self, *names: str) -> None:
        """Takes away files and folders of a run that came to nothing; those that are not there are passed over."""
        for name in names:
            path = self.path / name
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Gives a temporary path to write one file to; it becomes `name` when the block ends well.

        Raises:
            WriteError: If the block raised an ``OSError``, such as that of a full disk.
        """
        with self.guard(name), atomic_path(self.path / name) as temporary:
            yield temporary

    @contextmanager
    def guard(self, name: str) -> Iterator[Path]:
        """Gives the path of `name` to a block that writes it atomically itself, and explains its ``OSError``.

        Raises:
            WriteError: If the block raised an ``OSError``.
        """
        path = self.path / name
        try:
            yield path
        except WriteError:
            raise
        except Exception as error:
            if not isinstance(error, OSError) and not _is_safetensors_error(error):
                raise
            raise WriteError(f"{path} could not be written: {_reason(error)}. {self._left(path)}") from error

    def _left(self, path: Path) -> str:
        """What is there after `path` could not be written."""
        if not self.path.is_dir():
            return f"The folder {self.path} is no longer there."
        if path.is_dir():
            return f"What is in {path} may lack a part; whatever else the run wrote before is complete in {self.path}."
        if path.exists():
            return f"It is what it was before, and what the run wrote before is complete in {self.path}."
        return f"Nothing half-written is left of it, and what the run wrote before is complete in {self.path}."

    def write_text(self, name: str, text: str) -> None:
        """Writes a text file (UTF-8).

        Raises:
            WriteError: If it cannot be written.
        """
        with self.writing(name) as path:
            path.write_text(text, encoding="utf-8")

    def write_json(self, name: str, value: Any) -> None:
        """Writes a JSON file; NumPy values and paths become plain ones, NaN and infinities become null.

        Raises:
            WriteError: If it cannot be written.
        """
        text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
        try:
            text.encode()
        except UnicodeEncodeError:  # names of files that are no text
            text = json.dumps(_plain(value), indent=2, allow_nan=False)
        self.write_text(name, text + "\n")

    @staticmethod
    def as_json(value: Any) -> Any:
        """A value as it is read again from what :meth:`write_json` wrote."""
        return json.loads(json.dumps(_plain(value)))


def _dated(root: Path) -> Path:
    """A folder that is not there yet, named by the local time."""
    name = datetime.now().strftime("%Y-%m-%d-%H%M%S")
    path, k = root / name, 2
    while path.exists():  # two runs of one second
        path, k = root / f"{name}-{k}", k + 1
    return path


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _is_safetensors_error(error: Exception) -> bool:
    """Whether safetensors, which has an exception of its own for a full disk, could not write."""
    return type(error).__module__.startswith("safetensors")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
