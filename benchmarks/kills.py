"""SIGKILLs at random moments of trainings, each followed by ``--resume``; what comes out is compared bit by bit.

    python -m benchmarks.kills --kills 100

Runs are forked from this process, so that a run of seconds does not begin with the seconds that Python takes to load.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

SHARES = {"reinforce": 0.6, "ppo": 0.2, "sac": 0.2}
"""Kills of each algorithm, as shares of all."""
KILLS_OF_A_RUN = 5
"""A run is killed so many times before it may end."""
SETTINGS = (
    "--num-envs 4 --budget 12 --window 4 --episodes 60 --checkpoints 3 --eval-seeds 2 --tuning-episodes 0 "
    "--device cpu --save-every 0.2"
)


@dataclass(frozen=True)
class Args:
    """Kills trainings, resumes them, and compares what comes out with runs that nothing has cut off."""

    kills: int = 100
    """SIGKILLs in all."""
    seed: int = 0
    """Of the moments."""
    pair: str = "glyphs-digits"
    """Pair to train and evaluate on."""
    keep: bool = False
    """Keep the runs."""


@dataclass
class Counts:
    """What came of the kills of one algorithm."""

    kills: int = 0
    runs: int = 0
    same: int = 0
    left: int = 0
    """Temporary files, locks and states that were left behind."""


def main(args: Args) -> int:
    """Runs the benchmark; returns 0 if all runs are the same bit for bit and leave nothing behind."""
    from l2o_env import pairs

    torch.set_num_threads(1)
    pairs.make(args.pair)  # built once, for all processes
    moments, folder = random.Random(args.seed), Path(tempfile.mkdtemp(prefix="l2o-kills-"))
    shared = _shared_memory()
    good = True
    for algorithm, share in SHARES.items():
        counts = _of_algorithm(algorithm, round(share * args.kills), args.pair, moments, folder)
        good &= counts.same == counts.runs and not counts.left
        print(
            f"{algorithm}: {counts.kills} kills in {counts.runs} runs; {counts.same} of {counts.runs} bit-identical, "
            f"{counts.left} files left behind",
            flush=True,
        )
    print(f"shared memory left behind: {len(_shared_memory() - shared)}")
    if not args.keep:
        shutil.rmtree(folder)
    return 0 if good else 1


def _of_algorithm(algorithm: str, kills: int, pair: str, moments: random.Random, folder: Path) -> Counts:
    options = [*SETTINGS.split(), "--algo", algorithm, "--pairs", pair, "--eval-pairs", pair]
    whole = folder / f"{algorithm}-whole"
    started = time.monotonic()
    if _wait(_start(["train", "--out", str(whole), *options])) != 0:
        raise SystemExit(f"The uninterrupted run failed: l2o train {' '.join(options)}")
    seconds = time.monotonic() - started
    counts = Counts()
    while counts.kills < kills:
        run = folder / f"{algorithm}-{counts.runs}"
        for _ in range(min(KILLS_OF_A_RUN, kills - counts.kills)):
            pid = _start(_command(run, options))
            time.sleep(moments.uniform(0.0, seconds))
            os.kill(pid, signal.SIGKILL)  # a process that has ended is still there, until it is waited for
            counts.kills += _wait(pid) == -signal.SIGKILL
            if (run / "results.json").is_file() and '"finished"' in (run / "results.json").read_text():
                break
        _wait(_start(_command(run, options)))  # of a run that has finished, it takes away what a late kill has left
        counts.runs += 1
        counts.same += digests(run) == digests(whole)
        names = {path.relative_to(run) for path in run.rglob("*") if "events" not in str(path)}
        left = names - {path.relative_to(whole) for path in whole.rglob("*")}
        if left:
            print(f"left behind in run {counts.runs}: {', '.join(sorted(map(str, left)))}")
        counts.left += len(left)
    return counts


def _command(run: Path, options: Sequence[str]) -> list[str]:
    """Resumes a run; one that was killed before it was described is started again."""
    return (
        ["train", "--resume", str(run)] if (run / "config.json").is_file() else ["train", "--out", str(run), *options]
    )


def _start(command: Sequence[str]) -> int:
    """Runs ``l2o`` in a process of its own, silently; returns its id."""
    import train_policy

    pid = os.fork()
    if pid:
        return pid
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    status = 1
    try:
        status = train_policy.main(command)
    finally:
        os._exit(status)


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def digests(run: Path) -> dict[str, str]:
    """What a run has come to, by name: policies, tables, recording, and TensorBoard's scalars except for times."""
    import pandas as pd

    from l2o_env.results.event_log import read_scalars

    found = {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (*run.rglob("policy.*"), run / "results.csv")
    }
    found["actions"] = hashlib.sha256(pd.read_parquet(run / "actions.parquet").to_csv().encode()).hexdigest()
    scalars = {tag: rows for tag, rows in read_scalars(run / "events").items() if not tag.startswith("time/")}
    found["events"] = hashlib.sha256(repr(sorted(scalars.items())).encode()).hexdigest()
    return found


def _shared_memory() -> set[str]:
    folder = Path("/dev/shm")
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args)))
