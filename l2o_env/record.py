"""What happened at each step of each layer (Parquet), and how training went (TensorBoard)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l2o_env.files import atomic_path

if TYPE_CHECKING:
    import pyarrow as pa

LAYER_COLUMNS = ("lr", "task_rms", "guidance_rms", "cosine", "update_ratio", "drift", "alignment")
"""Columns that differ between the layers of a step."""
STEP_COLUMNS = ("value", "train_ce", "train_kl", "val_ce", "val_kl", "val_accuracy")
"""Columns that are the same for all layers of a step."""
ROW_GROUP = 20_000
"""Rows that are held back until they are written as one row group."""


class StepRecorder:
    """Writes one row per policy, pair, episode (by seed), step and layer to a Parquet file.

    Columns: ``policy``, ``pair``, ``seed``, ``step`` (from 1), ``layer``, ``updates`` (made so far), ``diverged``,
    then ``LAYER_COLUMNS`` and ``STEP_COLUMNS``, as the environment's ``info`` has them. ``lr`` is the rate of the
    window that *ends* at ``updates``. Nothing of the target is recorded.

    Rows go in row groups to a hidden file beside the final one, which gets its name when the recorder is closed. As
    a context manager it is closed also by an exception or Ctrl-C: what was recorded until then is a complete file. A
    write that fails (a full disk), or a process that is killed, leaves no file of that name rather than half a one.

    Args:
        path: Where the file goes; its folder must exist.
        layer_names: Names of the layer groups, from the input to the head.

    Raises:
        OSError: If the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], layer_names: Sequence[str]) -> None:
        import pyarrow.parquet as pq

        self._layers = list(layer_names)
        self._schema = _schema()
        self._held: list[dict[str, Any]] = []
        self._n_held = 0
        self._stack = ExitStack()
        temporary = self._stack.enter_context(atomic_path(Path(path)))
        with _removing(self._stack):
            self._writer = pq.ParquetWriter(temporary, self._schema, compression="zstd")

    def record(self, policy: str, pair: str, step: int, observations: NDArray[np.float32], info: dict[str, Any]) -> None:
        """Takes up a step; the form is that of the `on_step` of :func:`l2o_env.evaluate.evaluate`.

        Args:
            policy: Whose step it is.
            pair: On which pair.
            step: Steps made so far; 0 (the reset) is left out, because no rate was chosen yet.
            observations: Not read.
            info: What the vector environment gave, with the seeds ``info["seed"]`` of the rows, and the mask
                ``info["_seed"]`` of those that count.

        Raises:
            OSError: If rows cannot be written; the file is removed then.
        """
        if step == 0:
            return
        rows = np.flatnonzero(info["_seed"])
        n, n_layers = len(rows), len(self._layers)
        if n == 0:
            return
        columns: dict[str, Any] = {
            "policy": np.full(n * n_layers, policy, dtype=object),
            "pair": np.full(n * n_layers, pair, dtype=object),
            "step": np.full(n * n_layers, step, np.int32),
            "layer": np.array(self._layers * n, dtype=object),
        }
        for key in ("seed", "updates", "diverged", *STEP_COLUMNS):
            columns[key] = np.repeat(info[key][rows], n_layers)
        for key in LAYER_COLUMNS:
            columns[key] = info[key][rows].reshape(-1)
        self._held.append(columns)
        self._n_held += n * n_layers
        if self._n_held >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._held:
            return
        joined = {name: np.concatenate([held[name] for held in self._held]) for name in self._schema.names}
        self._held, self._n_held = [], 0
        arrays = [pa.array(joined[field.name]).cast(field.type) for field in self._schema]
        with _removing(self._stack, self._writer):
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """Writes what is held back and gives the file its name; a second call does nothing.

        Raises:
            OSError: If that fails; the file is removed then.
        """
        if not self._writer.is_open:
            return
        self._flush()
        with _removing(self._stack):
            self._writer.close()
        self._stack.close()

    def __enter__(self) -> StepRecorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _removing:  # noqa: N801
    """Removes the unfinished file if the block raises."""

    def __init__(self, stack: ExitStack, writer: Any = None) -> None:
        self._stack, self._writer = stack, writer

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            return
        if self._writer is not None:
            self._writer.is_open = False
        self._stack.__exit__(kind, error, trace)
