"""How training went and what came of it, as TensorBoard events."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l2o_env.errors import ConfigError
from l2o_env.pairs.spec import label

if TYPE_CHECKING:
    import pandas as pd


Scalars = dict[str, list[tuple[int, float]]]
"""``(step, value)`` in order, by tag."""
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
    "seconds": "time/time_elapsed",
}
"""What a training record's keys are called in TensorBoard: Stable-Baselines3's names where it has one."""
LAYER_TAGS = {
    "lr": "lr",
    "task_rms": "grad/task",
    "guidance_rms": "grad/guidance",
    "cosine": "grad/cosine",
    "update_ratio": "update_ratio",
    "drift": "drift",
}
"""What the columns of a recording are called in TensorBoard, where ``/<layer>`` follows."""
OVER_UPDATES = "over_updates"
"""What stands before these tags where the x axis counts the updates of an episode: TensorBoard draws what has one tag
into one chart, of all runs that it shows, and training counts episodes."""
TRAINING = "training"
"""What TensorBoard calls the run of a training: the folder of its events in that of all events."""


class TensorBoardLog:
    """Writes records as TensorBoard events, over training episodes or what else is counted, and what came of it.

    Args:
        folder: Where the events go; made if it is not there. TensorBoard calls a run by its path below ``--logdir``.
        unit: What ``record["episode"]`` counts, the x axis of all charts; it is logged under ``time/<unit>`` too.

    Raises:
        ConfigError: If the folder cannot be written to.
    """

    def __init__(self, folder: str | os.PathLike[str], unit: str = "episodes") -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        # The writer works in a thread of its own, where an error would come too late and go astray.
        try:
            os.makedirs(folder, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise ConfigError(
                f"The TensorBoard folder {os.fspath(folder)} cannot be written to: {error.strerror or error}. "
                "Name a folder that you may write to."
            ) from error
        self._folder, self._names = Path(folder), TENSORBOARD_NAMES | {"episode": f"time/{unit}"}
        self._writer = SummaryWriter(str(folder))

    def __call__(self, record: Mapping[str, Any]) -> None:
        """Logs a record at ``record["episode"]``.

        Args:
            record: Numbers by name, and arrays, which become histograms. Names are changed as ``TENSORBOARD_NAMES``
                says, and ones with a slash (``lr/<layer>``) stay; any other goes under ``train/``. With a ``pair`` the
                return is logged under ``pair/<name>`` too. What is neither is left out.
        """
        episode = int(record["episode"])
        for key, value in record.items():
            name = self._names.get(key, key if "/" in key else f"train/{key}")
            if isinstance(value, np.ndarray):
                self._writer.add_histogram(name, value, episode)
            elif isinstance(value, int | float | np.number) and not isinstance(value, bool):
                self._writer.add_scalar(name, float(value), episode)
        if "pair" in record and "return_mean" in record:
            self._writer.add_scalar(f"pair/{record['pair']}", float(record["return_mean"]), episode)

    def picture(self, name: str, path: str | os.PathLike[str]) -> None:
        """Shows a PNG under `name`."""
        from PIL import Image

        with Image.open(path) as picture:
            self._writer.add_image(name, np.asarray(picture.convert("RGB")), dataformats="HWC")

    def results(self, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Fills a row of the tab "HPARAMS", so that runs can be compared by their settings.

        Args:
            settings: Settings by name; dictionaries among them are flattened, what is no number, text or boolean
                becomes text.
            metrics: Results by name.
        """
        hyper = {key: value if isinstance(value, bool | int | float | str) else str(value)
                 for key, value in _flat(settings)}  # fmt: skip
        self._writer.add_hparams(hyper, {f"hparam/{key}": float(value) for key, value in metrics.items()}, run_name=".")

    def written(self) -> dict[str, int]:
        """Writes what is held back; returns the sizes of the files in bytes, by name, for :func:`cut_events`."""
        self._writer.flush()
        return {path.name: path.stat().st_size for path in self._folder.iterdir() if path.is_file()}

    def close(self) -> None:
        """Writes what is held back."""
        self._writer.close()


def training_events(folder: str | os.PathLike[str], name: str = TRAINING) -> Path:
    """Where the events of a training are in the folder of all events of a run.

    Args:
        folder: The folder of all events; need not be there. Runs of earlier versions have those of training in it, and
            go on there.
        name: What TensorBoard is to call the run.
    """
    folder = Path(folder)
    return folder if any(folder.glob("events.out.tfevents.*")) else folder / name


def cut_events(folder: str | os.PathLike[str], sizes: Mapping[str, int]) -> None:
    """Takes back what was logged after :meth:`TensorBoardLog.written`, so that the log goes on without a row twice.

    Args:
        folder: Of all events of a run; need not be there. What was logged of an evaluation is taken back as well.
        sizes: What that returned.
    """
    training = training_events(folder)
    for path in Path(folder).iterdir() if os.path.isdir(folder) else ():
        if path.is_dir() and path != training:
            shutil.rmtree(path)
    for path in training.iterdir() if training.is_dir() else ():
        if path.name not in sizes:
            path.unlink()
        elif path.stat().st_size > sizes[path.name]:
            os.truncate(path, sizes[path.name])


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class LayerLog:
    """Gathers what a population did to each layer, for the next training record.

    It is called with each step of a population (``Syn2RealVectorEnv.on_step``); :meth:`take` gives the means since it
    was last called.

    Args:
        layer_names: Names of the layer groups, from the input to the head; to be changed after :meth:`take`, where the
            next steps are those of another network.
    """

    def __init__(self, layer_names: Sequence[str]) -> None:
        self.layer_names = tuple(layer_names)
        self._seen: dict[str, list[NDArray[np.float64]]] = {key: [] for key in LAYER_TAGS}

    def __call__(self, info: Mapping[str, Any], moving: NDArray[np.bool_]) -> None:
        """Takes in a step.

        Args:
            info: Of the environment; what is read has the shape ``(N, n_layers)``.
            moving: ``(N,)``; optimizees that made a window.
        """
        for key, seen in self._seen.items():
            seen.append(info[key][moving])

    def get_state(self) -> dict[str, list[NDArray[np.float64]]]:
        """What was gathered since :meth:`take`."""
        return {key: list(seen) for key, seen in self._seen.items()}

    def set_state(self, state: Mapping[str, Sequence[NDArray[np.float64]]]) -> None:
        """Takes up a state that :meth:`get_state` returned."""
        self._seen = {key: list(state[key]) for key in LAYER_TAGS}

    def take(self) -> dict[str, Any]:
        """By tag and layer, such as ``lr/head``: means, geometric for rates; and the rates for a histogram.

        Empty if no step was made since the last call.
        """
        record: dict[str, Any] = {}
        for key, seen in self._seen.items():
            values = np.concatenate(seen) if seen else np.zeros((0, len(self.layer_names)))
            for i, layer in enumerate(self.layer_names if len(values) else ()):
                record[f"{LAYER_TAGS[key]}/{layer}"] = layer_mean(key, values[:, i])
                if key == "lr":
                    record |= _rate_histogram(layer, values[:, i])
            seen.clear()
        return record


def layer_mean(column: str, values: NDArray[np.float64]) -> float:
    """Mean of a column of a recording over steps or episodes; of rates the geometric one, without those that are 0."""
    if column != "lr":
        return float(values.mean())
    positive = values[values > 0]
    return float(np.exp(np.log(positive).mean())) if len(positive) else 0.0


def log_recording(folder: str | os.PathLike[str], rows: pd.DataFrame) -> None:
    """Logs what one policy did to each layer, over the optimizer updates of an episode.

    Args:
        folder: Where the events go; one run of TensorBoard for each pair.
        rows: Rows of a recording, of one policy: scalars ``over_updates/lr/<layer>``, ``…/grad/task/<layer>``,
            ``…/grad/guidance/<layer>``, ``…/entropy/<layer>``, …, means over episodes; and histograms of the rates.

    Raises:
        ConfigError: If the folder cannot be written to.
    """
    tags = LAYER_TAGS | {"entropy": "entropy", "log_prob": "log_prob"}
    for pair, mine in rows.groupby("pair", sort=False):
        log = TensorBoardLog(os.path.join(folder, re.sub(r"[^\w.-]", "_", label(str(pair)))), unit="updates")
        for updates, window in mine.groupby("updates", sort=False):
            record: dict[str, Any] = {"episode": updates}  # where the log has its time axis
            for layer, group in window.groupby("layer", sort=False):
                for column, tag in tags.items():
                    values = group[column].dropna().to_numpy(float)
                    if len(values):
                        record[f"{OVER_UPDATES}/{tag}/{layer}"] = layer_mean(column, values)
                rates = _rate_histogram(str(layer), group["lr"].to_numpy(float))
                record |= {f"{OVER_UPDATES}/{tag}": values for tag, values in rates.items()}
            log(record)
        log.close()


def _rate_histogram(layer: str, rates: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Logarithms of a layer's rates by their tag; empty if all of them are 0, which have no logarithm."""
    positive = rates[rates > 0]
    return {f"log10_lr/{layer}": np.log10(positive)} if len(positive) else {}


def read_scalars(folder: str | os.PathLike[str]) -> Scalars:
    """Scalars of a folder of TensorBoard events, or of the training in it; empty if there are none.

    Events of a run that is going on or was killed can be read too. Steps are in order, also if the clock was set back
    between two parts of a run, whose files are read by their times.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not training_events(folder).is_dir():
        return {}
    events = EventAccumulator(str(training_events(folder)), size_guidance={"scalars": 0})
    events.Reload()
    return {
        tag: sorted(((e.step, e.value) for e in events.Scalars(tag)), key=lambda row: row[0])
        for tag in events.Tags()["scalars"]
    }


def training_records(scalars: Scalars) -> list[dict[str, Any]]:
    """What training reported of each update, from its events.

    Args:
        scalars: Of :func:`read_scalars`; without events of a training nothing comes of them.

    Returns:
        ``episode``, ``return_mean`` and, where they are known, ``value_mean`` and ``pair``.
    """
    named = {tag.split("/", 1)[1]: events for tag, events in scalars.items() if tag.startswith("pair/")}
    known: dict[str, Mapping[int, Any]] = {
        "pair": {step: name for name, events in named.items() for step, _ in events},
        "value_mean": dict(scalars.get(TENSORBOARD_NAMES["value_mean"], [])),
    }
    return [
        {"episode": step, "return_mean": value, **{key: found[step] for key, found in known.items() if step in found}}
        for step, value in scalars.get(TENSORBOARD_NAMES["return_mean"], [])
    ]
