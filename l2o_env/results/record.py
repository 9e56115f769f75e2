"""What happened at each step of each layer: Parquet that is written as it goes, and that a crash leaves readable."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l2o_env.atomic import atomic_path
from l2o_env.errors import ConfigError, unknown_name
from l2o_env.results.run_folder import RECORDING
from l2o_env.results.tables import read_table

if TYPE_CHECKING:
    import pandas as pd


_NAME_COLUMNS = ("policy", "pair", "layer")
_COUNT_COLUMNS = ("seed", "step", "updates")
_FLAG_COLUMNS = ("diverged", "sampled")
LAYER_COLUMNS = (
    "lr", "action", "log_prob", "entropy", "task_rms", "guidance_rms", "cosine", "update_ratio", "drift", "alignment"
)  # fmt: skip
"""Columns that differ between the layers of a step; ``action``, ``log_prob`` and ``entropy`` (nats) are NaN for agents
that choose rates instead of actions."""
STEP_COLUMNS = (
    "value", "reward", "reward_ce", "reward_kl", "reward_accuracy", "reward_penalty", "train_ce", "train_kl", "val_ce",
    "val_kl", "val_accuracy", "guidance_weight",
)  # fmt: skip
"""Columns that are the same for all layers of a step."""
COLUMNS = (
    "policy", "pair", "seed", "step", "layer", "updates", "diverged", "sampled", *LAYER_COLUMNS, *STEP_COLUMNS
)  # fmt: skip
"""Columns of a recording."""
_OPTIONAL = ("action", "log_prob", "entropy")
PART_ROWS = 4_000
"""Rows that are held back at most until they are written."""
ROW_GROUP = 20_000
"""Rows of a row group of the finished file, at least."""


@contextmanager
def recording(path: str | os.PathLike[str], layer_names: Mapping[str, Sequence[str]]) -> Iterator[StepRecorder]:
    """Records steps into a Parquet file: one row per policy, pair, episode (by its seed), step and layer.

    Rows are written as they come, as whole Parquet files in a folder beside the final one (:func:`parts_folder`); at
    the end of the block they become the one file. An error or Ctrl-C inside the block ends the recording likewise and
    goes on. After an ``OSError`` (a full disk) or in a killed process the parts stay: :func:`read_recording` reads
    them too. Parts that an earlier recording of the same path left are removed.

    Args:
        path: Where the file goes; its folder must exist.
        layer_names: Names of the layer groups, from the input to the head, of each pair by its name.

    Yields:
        What is to be called with each step, as the `on_step` of :func:`l2o_env.evaluation.evaluate.evaluate`.

    Raises:
        OSError: If something cannot be written.
    """
    path, folder = Path(path), parts_folder(path)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    recorder, ended = StepRecorder(folder, layer_names), None
    try:
        yield recorder
    except OSError:
        _remove_if_empty(folder)
        raise
    except BaseException as error:
        ended = error
    try:
        recorder.flush()
    except OSError:
        _remove_if_empty(folder)
        raise
    merge_recordings([(part, None) for part in _parts(folder)], path)
    shutil.rmtree(folder)
    if ended is not None:
        raise ended


def parts_folder(path: str | os.PathLike[str]) -> Path:
    """The folder of a recording that has not ended: ``actions.parts`` for ``actions.parquet``."""
    return Path(path).with_suffix(".parts")


def read_recording(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Reads a recording, also one that a crash cut off.

    Args:
        path: The file, or the folder of a run or of an evaluation that it lies in; if it is not there, its parts are
            read.

    Returns:
        Columns ``COLUMNS``; rows in the order in which they came.

    Raises:
        ConfigError: If there is neither the file nor parts of it, or it is no recording.
    """
    import pandas as pd

    path = Path(path)
    if path.is_dir():
        path = path / RECORDING
    files = [path] if path.is_file() else _parts(parts_folder(path))
    if not files:
        raise ConfigError(f"There is no recording {path}; give the folder of a run or of an evaluation.")
    return pd.concat(
        [read_table(file, COLUMNS, _NAME_COLUMNS, "record it again.", _FLAG_COLUMNS) for file in files],
        ignore_index=True,
    )


def select_rows(rows: pd.DataFrame, policy: str | None = None, pairs: Sequence[str] | None = None) -> pd.DataFrame:
    """What one policy did on some pairs: its deterministic actions, or the sampled ones if it took no others.

    Args:
        rows: A recording.
        policy: Whose rows; None takes the first policy recorded.
        pairs: Which pairs; None takes all.

    Raises:
        ConfigError: If nothing is recorded, or the policy or a pair was not.
    """
    policies = [str(name) for name in rows["policy"].unique()]
    if not policies:
        raise ConfigError("The recording is empty; was the run cut off before its first evaluated episode?")
    policy = policies[0] if policy is None else policy
    if policy not in policies:
        raise unknown_name("policy in this recording", policy, policies)
    rows = rows[rows["policy"] == policy]
    recorded = [str(name) for name in rows["pair"].unique()]
    for name in pairs or ():
        if name not in recorded:
            raise unknown_name("pair in this recording", name, recorded)
    rows = rows[rows["pair"].isin(recorded if pairs is None else pairs)]
    return rows if rows["sampled"].all() else rows[~rows["sampled"]]


def merge_recordings(sources: Iterable[tuple[Path, str | None]], path: Path) -> None:
    """Joins recordings into one file.

    Args:
        sources: Files, each with the name that its policy gets, or None to keep it.
        path: Where the file goes.

    Raises:
        OSError: If it cannot be written; nothing is left behind then.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        held: list[Any] = []
        for source, name in sources:
            table = pq.read_table(source)
            if name is not None:
                table = table.set_column(0, schema.field(0), pa.array([name] * len(table), pa.string()))
            held.append(table)
            if sum(map(len, held)) >= ROW_GROUP:
                writer.write_table(pa.concat_tables(held))
                held = []
        if held:
            writer.write_table(pa.concat_tables(held))


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.parquet"))


def _remove_if_empty(folder: Path) -> None:
    if not _parts(folder):
        shutil.rmtree(folder, ignore_errors=True)


class StepRecorder:
    """Turns the steps of a population into rows with the columns ``COLUMNS``, as the environment's ``info`` has them.

    ``step`` counts from 1, ``updates`` are those made so far, and ``lr`` is the rate of the window that *ends* there.
    Nothing of the target is recorded. :func:`recording` makes one.

    Args:
        folder: Where the parts go.
        layer_names: Names of the layer groups, from the input to the head, of each pair by its name.
    """

    def __init__(self, folder: Path, layer_names: Mapping[str, Sequence[str]]) -> None:
        self._folder = folder
        self._layers = {pair: np.array(names, dtype=object) for pair, names in layer_names.items()}
        self._held: list[dict[str, NDArray[Any]]] = []
        self._n_held, self._n_parts = 0, 0

    def __call__(
        self, policy: str, pair: str, step: int, observations: NDArray[np.float32], info: Mapping[str, Any]
    ) -> None:
        """Takes up one step of N optimizees.

        Args:
            policy: Whose step it is.
            pair: On which pair.
            step: Steps made so far; 0 (the reset) is left out, because no rate was chosen yet.
            observations: Not read.
            info: What the vector environment gave, with the seeds of the rows ``info["seed"]`` ``(N,)`` and the mask
                ``info["_seed"]`` ``(N,)`` of those that count.

        Raises:
            OSError: If rows cannot be written.
        """
        if step == 0:
            self.flush()  # one population has ended: a crash in the next one loses nothing of it
            return
        rows = np.flatnonzero(info["_seed"])
        n, n_layers = len(rows), len(self._layers[pair])
        if n == 0:
            return
        columns = {
            "policy": np.full(n * n_layers, policy, dtype=object),
            "pair": np.full(n * n_layers, pair, dtype=object),
            "step": np.full(n * n_layers, step),
            "layer": np.tile(self._layers[pair], n),
        }
        columns |= {
            key: np.repeat(info[key][rows], n_layers) for key in ("seed", "updates", *_FLAG_COLUMNS, *STEP_COLUMNS)
        }
        for key in LAYER_COLUMNS:
            known = key in info or key not in _OPTIONAL
            # An action may end with the weight of the guidance, which belongs to no layer.
            columns[key] = info[key][rows][:, :n_layers].reshape(-1) if known else np.full(n * n_layers, np.nan)
        self._held.append(columns)
        self._n_held += n * n_layers
        if self._n_held >= PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes what is held back as a file of its own.

        Raises:
            OSError: If it cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._held:
            return
        schema = _schema()
        arrays = [pa.array(np.concatenate([held[f.name] for held in self._held])).cast(f.type) for f in schema]
        with atomic_path(self._folder / f"{self._n_parts:06d}.parquet") as path:
            pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd")
        self._held, self._n_held, self._n_parts = [], 0, self._n_parts + 1


def _schema() -> Any:
    import pyarrow as pa

    types = {name: pa.string() for name in _NAME_COLUMNS} | {name: pa.int64() for name in _COUNT_COLUMNS}
    types |= {name: pa.bool_() for name in _FLAG_COLUMNS}
    return pa.schema([(name, types.get(name, pa.float64())) for name in COLUMNS])
