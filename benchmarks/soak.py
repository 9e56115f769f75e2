"""Steps an environment for as long as asked, and tells whether anything grows.

python -m benchmarks.soak --steps 20000
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import torch
import tyro


@dataclass(frozen=True)
class Args:
    """Steps a population of environments, and reports what grows."""

    steps: int = 20_000
    """Steps of the population."""
    reports: int = 10
    """Reports, at even distances."""
    num_envs: int = 4
    """Optimizees."""
    pair: str = "glyphs-digits"
    """Their pair."""
    budget: int = 20
    """Updates of an episode."""
    window: int = 1
    """Updates of a step."""
    workers: int = 1
    """Worker processes."""
    growth: float = 0.02
    """Growth of memory from the second report to the last, as a share, that still counts as flat."""


@dataclass(frozen=True)
class Report:
    """What the process holds.

    Attributes:
        steps: Steps so far.
        mebibytes: Resident memory, with that of worker processes.
        handles: Open files and pipes.
        threads: Threads.
        shared: Files of shared memory.
        temporary: Files in the temporary folder.
        milliseconds: Of a step, the median since the last report.
        diverged: Episodes that have diverged so far.
    """

    steps: int
    mebibytes: float
    handles: int
    threads: int
    shared: int
    temporary: int
    milliseconds: float
    diverged: int


def soak(args: Args) -> list[Report]:
    """Makes the steps, with random actions; prints the reports as they come."""
    from l2o_env import Syn2RealVectorEnv

    torch.set_num_threads(1)
    venv = Syn2RealVectorEnv(
        args.num_envs, pairs=args.pair, budget=args.budget, window=args.window, workers=args.workers, device="cpu"
    )
    actions = np.random.default_rng(0)
    venv.reset(seed=0)
    reports: list[Report] = []
    times: list[float] = []
    diverged = 0
    print("| steps | MiB | handles | threads | shared memory | temporary files | ms a step | diverged |")
    print("|---|---|---|---|---|---|---|---|")
    for step in range(1, args.steps + 1):
        started = time.perf_counter()
        *_, info = venv.step(actions.uniform(-1, 1, venv.action_space.shape))
        times.append(time.perf_counter() - started)
        diverged += int(info["diverged"].sum())
        if step * args.reports // args.steps > len(reports):
            reports.append(_report(step, times, diverged))
            times.clear()
            each = vars(reports[-1])
            print("| " + " | ".join(f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"
                                    for value in each.values()) + " |", flush=True)  # fmt: skip
    venv.close()
    return reports


def _report(steps: int, times: list[float], diverged: int) -> Report:
    return Report(
        steps,
        sum(_mebibytes(pid) for pid in ("self", *(process.pid for process in active_children()))),
        len(os.listdir("/proc/self/fd")),
        threading.active_count(),
        len(os.listdir("/dev/shm")),
        len(os.listdir(tempfile.gettempdir())),
        float(np.median(times)) * 1000,
        diverged,
    )


def _mebibytes(pid: object) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def is_flat(reports: list[Report], growth: float) -> bool:
    """Whether memory, handles and threads have not grown since the second report."""
    first, last = reports[min(1, len(reports) - 1)], reports[-1]
    return (
        last.mebibytes <= first.mebibytes * (1 + growth)
        and last.handles <= first.handles
        and last.threads <= first.threads
    )


def main(args: Args) -> int:
    """Runs the benchmark; returns 0 if nothing grows."""
    flat = is_flat(soak(args), args.growth)
    print("flat" if flat else "it grows")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args)))
