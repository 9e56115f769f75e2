"""Settings of an earlier training, which ``l2o train --config`` takes again; the file may be anybody's."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from l2o_env.errors import ConfigError, reading, shortened
from l2o_env.pairs.spec import runs_code
from l2o_env.results.run_folder import CONFIG_FILE, RunFolder
from l2o_env.safe_json import as_object, read_object

from .train_options import Plan, TrainArgs

_MEND = f"name the {CONFIG_FILE} of a training, or its folder."
_NOT_SAVED = ("config", "out", "resume", "ray", "gpus_per_worker")
"""Options that are about one run only, or name a machine, which would be trusted with code."""
_COMPARED = (
    "environment", "algorithm", "episodes", "checkpoints", "tuning_episodes", "tuned", "eval_pairs", "eval_seeds",
)  # fmt: skip
_SHOWN = 60
"""Characters of a setting."""


def completed(args: TrainArgs, given: Collection[str]) -> TrainArgs:
    """Settings with what the command line left open as it is in the file of ``--config``, if there is one.

    Args:
        args: The command line.
        given: Names of the fields that it gave.

    Raises:
        ConfigError: If the file is no settings of a training, or names a pair that may run code.
    """
    if args.config is None or args.resume is not None:  # which has an error for both
        return args
    path = _file(args.config)
    with reading(path, _MEND):
        saved = TrainArgs.from_saved(as_object(_read(path)["arguments"]))
    option = f"--config {shlex.quote(str(args.config))}"
    refuse_code(saved.pairs or (), args, f"{option} --pairs")
    refuse_code(saved.eval_pairs or (), args, f"{option} --eval-pairs")
    if "algo" in given and args.algo != saved.algo:  # whose hyper-parameters have other names
        saved = replace(saved, hp=(), hp_file=None)
    effort = ("quick", "full") if {"quick", "full"} & {*given} else ()
    own = {name: getattr(args, name) for name in (*given, *_NOT_SAVED, *effort)}
    own |= {name: (*getattr(saved, name), *getattr(args, name)) for name in ("hp", "env")}  # the last of a name counts
    return replace(saved, **own)


def differences(plan: Plan) -> str:
    """What a run does otherwise than the file of ``--config`` has it: by other options, or as another version."""
    assert plan.args.config is not None
    path = _file(plan.args.config)
    with reading(path, _MEND):
        before = dict(_flat(_read(path)))
    now = dict(_flat(RunFolder.as_json(plan.description())))
    changed = [
        f"{name} {shortened(now[name], _SHOWN)} (there {shortened(before[name], _SHOWN)})"
        for name in now
        if name in before and now[name] != before[name]
    ]
    return f"Settings as in {path}" + (f", but: {', '.join(changed)}." if changed else ".")


def _flat(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in _COMPARED:
        value = config.get(name)
        yield from value.items() if isinstance(value, dict) else [(name, value)]
    yield from ((name, as_object(config["arguments"]).get(name)) for name in ("seed", "num_envs", "tasks"))


def _file(path: Path) -> Path:
    path = path.expanduser()
    return path / CONFIG_FILE if path.is_dir() else path


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_object(path, _MEND)
    except FileNotFoundError as error:
        raise ConfigError(f"There is no file {path}; {_MEND}") from error


def refuse_code(names: Collection[str], args: TrainArgs, option: str) -> None:
    """Refuses pairs that a file of anybody's names and that may run code, unless the command line names them too.

    Args:
        names: The pairs.
        args: The command line.
        option: The option that named the file, as it was given, and the one that names them.

    Raises:
        ConfigError: If one is refused.
    """
    confirmed = {*(args.pairs or ()), *(args.eval_pairs or ())}
    for name in names:
        if name not in confirmed and runs_code(name):
            beside = ", with those beside it" if len(names) > 1 else ""
            raise ConfigError(
                f"The run was started on the pair {shortened(name, 200)}, which may run code. If you trust it, name it "
                f"again{beside}: {option} PAIR."
            )
