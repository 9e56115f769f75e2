"""What happened at each step of each layer (Parquet), and how training went (TensorBoard)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l2o_env.files import atomic_path

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_NAME_COLUMNS = ("policy", "pair", "layer")
_COUNT_COLUMNS = ("seed", "step", "updates")
LAYER_COLUMNS = ("lr", "task_rms", "guidance_rms", "cosine", "update_ratio", "drift", "alignment")
"""Columns that differ between the layers of a step."""
STEP_COLUMNS = ("value", "train_ce", "train_kl", "val_ce", "val_kl", "val_accuracy")
"""Columns that are the same for all layers of a step."""
COLUMNS = ("policy", "pair", "seed", "step", "layer", "updates", "diverged", *LAYER_COLUMNS, *STEP_COLUMNS)
"""Columns of a recording."""
ROW_GROUP = 20_000
"""Rows that are held back until they are written as one row group."""

TENSORBOARD_NAMES = {
    "return_mean": "rollout/ep_rew_mean",
    "return_std": "rollout/ep_rew_std",
    "value_mean": "rollout/ep_value_mean",
    "diverged": "rollout/diverged",
    "policy_loss": "train/policy_gradient_loss",
    "loss": "train/loss",
    "entropy": "train/entropy",
    "grad_norm": "train/grad_norm",
    "std": "train/std",
    "episode": "time/episodes",
    "seconds": "time/time_elapsed",
}
"""What a training record's keys are called in TensorBoard: Stable-Baselines3's names where it has one."""


@contextmanager
def recording(path: str | os.PathLike[str], layer_names: Mapping[str, Sequence[str]]) -> Iterator[StepRecorder]:
    """Records steps into a Parquet file: one row per policy, pair, episode (by its seed), step and layer.

    Rows go in row groups to a hidden file beside the final one, which takes its name at the end of the block. An
    error or Ctrl-C inside the block ends the recording and goes on: what was recorded until then is a complete
    file. An ``OSError`` (a full disk) or a killed process leaves no file of that name, rather than half a one.

    Args:
        path: Where the file goes; its folder must exist.
        layer_names: Names of the layer groups, from the input to the head, of each pair by its name.

    Yields:
        What is to be called with each step, as the `on_step` of :func:`l2o_env.evaluate.evaluate`.

    Raises:
        OSError: If the file cannot be written.
    """
    import pyarrow.parquet as pq

    ended: BaseException | None = None
    with atomic_path(Path(path)) as temporary, pq.ParquetWriter(temporary, _schema(), compression="zstd") as writer:
        recorder = StepRecorder(writer, layer_names)
        try:
            yield recorder
        except OSError:
            raise
        except BaseException as error:
            ended = error
        recorder.flush()
    if ended is not None:
        raise ended


class StepRecorder:
    """Turns the steps of a population into rows with the columns ``COLUMNS``, as the environment's ``info`` has them.

    ``step`` counts from 1, ``updates`` are those made so far, and ``lr`` is the rate of the window that *ends* there.
    Nothing of the target is recorded. :func:`recording` makes one.

    Args:
        writer: Where the rows go.
        layer_names: Names of the layer groups, from the input to the head, of each pair by its name.
    """

    def __init__(self, writer: pq.ParquetWriter, layer_names: Mapping[str, Sequence[str]]) -> None:
        self._writer = writer
        self._layers = {pair: np.array(names, dtype=object) for pair, names in layer_names.items()}
        self._held: list[dict[str, NDArray[Any]]] = []
        self._n_held = 0

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
        rows = np.flatnonzero(info["_seed"])
        n, n_layers = len(rows), len(self._layers[pair])
        if step == 0 or n == 0:
            return
        columns = {
            "policy": np.full(n * n_layers, policy, dtype=object),
            "pair": np.full(n * n_layers, pair, dtype=object),
            "step": np.full(n * n_layers, step),
            "layer": np.tile(self._layers[pair], n),
        }
        columns |= {key: np.repeat(info[key][rows], n_layers) for key in ("seed", "updates", "diverged", *STEP_COLUMNS)}
        columns |= {key: info[key][rows].reshape(-1) for key in LAYER_COLUMNS}
        self._held.append(columns)
        self._n_held += n * n_layers
        if self._n_held >= ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        """Writes what is held back as a row group.

        Raises:
            OSError: If it cannot be written.
        """
        import pyarrow as pa

        if not self._held:
            return
        schema = _schema()
        arrays = [pa.array(np.concatenate([held[f.name] for held in self._held])).cast(f.type) for f in schema]
        self._held, self._n_held = [], 0
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _schema() -> Any:
    import pyarrow as pa

    types = {name: pa.string() for name in _NAME_COLUMNS} | {name: pa.int64() for name in _COUNT_COLUMNS}
    types["diverged"] = pa.bool_()
    return pa.schema([(name, types.get(name, pa.float64())) for name in COLUMNS])


class TensorBoardLog:
    """Writes training records as TensorBoard events, over training episodes.

    Args:
        folder: Where the events go.

    Raises:
        OSError: If the folder cannot be written to.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def __call__(self, record: Mapping[str, Any]) -> None:
        """Logs a record at ``record["episode"]``.

        Args:
            record: Numbers by name. Names are changed as ``TENSORBOARD_NAMES`` says, and ones with a slash
                (``lr/<layer>``) stay; any other goes under ``train/``. With a ``pair`` the return is logged
                under ``pair/<name>`` too. What is no number is left out.
        """
        episode = int(record["episode"])
        for key, value in record.items():
            if isinstance(value, int | float | np.number) and not isinstance(value, bool):
                name = TENSORBOARD_NAMES.get(key, key if "/" in key else f"train/{key}")
                self._writer.add_scalar(name, float(value), episode)
        if "pair" in record and "return_mean" in record:
            self._writer.add_scalar(f"pair/{record['pair']}", float(record["return_mean"]), episode)

    def close(self) -> None:
        """Writes what is held back."""
        self._writer.close()
