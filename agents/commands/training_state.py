"""What a training that was cut off goes on from: states in the run folder, and the command line that it was given."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from l2o_env.cluster.connection import AUTO
from l2o_env.errors import ConfigError, reading, shortened
from l2o_env.inner.window import Measurements, Start
from l2o_env.results.run_folder import CONFIG_FILE, RESULTS_JSON, STATES, RunFolder
from l2o_env.results.state_file import read_state, write_state
from l2o_env.safe_json import as_object, read_object

from ..policy_folders import MEND
from .saved_settings import refuse_code
from .train_options import Plan, TrainArgs

KEPT = 2
"""States that are kept: if the last is damaged, the one before is good."""
_KINDS = (Measurements, Start)
_OWN = ("resume", "pairs", "eval_pairs", "save_every", "ray")
"""Options that may be given beside ``--resume``."""


class TrainingStates:
    """The states of a training, in the folder ``state`` of its run.

    Args:
        folder: The run folder.
        every: Seconds between two states.
    """

    def __init__(self, folder: RunFolder, every: float) -> None:
        self._folder, self._every = folder, every
        self._last = time.monotonic()  # which no change of the clock moves

    @property
    def due(self) -> bool:
        """Whether it is time for the next."""
        return time.monotonic() - self._last >= self._every

    def save(self, state: dict[str, Any]) -> None:
        """Writes a state, and takes away old ones.

        Raises:
            WriteError: If it cannot be written; those before stay.
        """
        with self._folder.guard(STATES) as path:
            path.mkdir(exist_ok=True)
            before = self._files()
            number = int(before[-1].stem) + 1 if before else 0
            write_state(path / f"{number:06d}.safetensors", state, _KINDS)
            for old in before[: len(before) + 1 - KEPT]:
                old.unlink(missing_ok=True)
        self._last = time.monotonic()

    def newest(self, tell: Callable[[str], None]) -> dict[str, Any] | None:
        """The newest state that is good; None if there is none at all.

        Args:
            tell: Is told of damaged ones.

        Raises:
            ConfigError: If all are damaged.
        """
        files = self._files()
        for path in reversed(files):
            try:
                state = read_state(path, _KINDS)
            except ConfigError as error:
                tell(str(error))
                continue
            if isinstance(state, dict):
                return state
        if files:
            raise ConfigError(f"No state in {self._folder.path / STATES} can be read; train anew in another folder.")
        return None

    def discard(self) -> None:
        """Takes all away: the training has finished."""
        shutil.rmtree(self._folder.path / STATES, ignore_errors=True)

    def _files(self) -> list[Path]:
        return sorted((self._folder.path / STATES).glob("[0-9]*.safetensors"))


def resumed_plan(args: TrainArgs) -> tuple[Plan, RunFolder]:
    """What a run that was cut off was to do, and its folder, claimed.

    Args:
        args: The command line with ``--resume``.

    Raises:
        ConfigError: If there is nothing to go on with, or it would now be something else.
    """
    assert args.resume is not None
    given = [f.name for f in fields(args) if f.name not in _OWN and getattr(args, f.name) != _default(f)]
    if given:
        raise ConfigError(
            f"--resume takes its settings from the run; leave out --{given[0].replace('_', '-')}, or start a new run."
        )
    folder = RunFolder(args.resume.expanduser())
    if not (folder.path / CONFIG_FILE).is_file():
        raise ConfigError(f"{folder.path} holds no training that was cut off: there is no {CONFIG_FILE}.")
    config = read_object(folder.path / CONFIG_FILE, MEND)
    if "arguments" not in config:
        raise ConfigError(f"{folder.path} holds no training, but a run of another command; give the folder of one.")
    if _status(folder) == "finished":
        folder.claim()  # a kill may have come just before the end
        folder.remove_remains()
        shutil.rmtree(folder.path / STATES, ignore_errors=True)
        folder.release()
        raise ConfigError(f"The training in {folder.path} has finished; there is nothing to go on with.")
    with reading(folder.path / CONFIG_FILE, "train anew."):
        saved = TrainArgs.from_saved(as_object(config["arguments"]))
        if args.ray is None and saved.ray not in (None, AUTO):  # code would be sent there, and objects come back
            raise ConfigError(
                f"The run was started on the Ray cluster {shortened(saved.ray)}. If you trust it, name it again: "
                f"--resume {shlex.quote(str(args.resume))} --ray ADDRESS."
            )
        named = (*config["environment"]["pairs"], *config["eval_pairs"])
        option = f"--resume {shlex.quote(str(args.resume))} --pairs"
        refuse_code((*named, *(saved.pairs or ()), *(saved.eval_pairs or ())), args, option)
        plan = replace(saved, save_every=args.save_every, ray=args.ray or saved.ray).plan()
    told = json.loads(json.dumps(plan.description(), default=str))
    for key in ("environment", "algorithm", "episodes", "eval_pairs", "eval_seeds", "tuned", "tuning_episodes"):
        if _without_cluster(told[key]) != _without_cluster(config.get(key)):
            raise ConfigError(
                f"The run in {folder.path} was started with another {key!r} than the same command line has now; go on "
                "with the version, the files and the working folder that it was started with."
            )
    folder.claim()
    folder.remove_remains()
    return plan, folder


def _without_cluster(settings: Any) -> Any:
    """What a run was to do, wherever its cluster is now; there are files from before there were clusters."""
    if not isinstance(settings, dict):
        return settings
    return {key: value for key, value in settings.items() if key not in ("ray", "gpus_per_worker")}


def _default(field: Any) -> Any:
    return field.default if field.default is not MISSING else None


def _status(folder: RunFolder) -> str | None:
    path = folder.path / RESULTS_JSON
    return read_object(path, MEND).get("status") if path.is_file() else None
