"""Mutants of every kind of file that people hand to each other, each read as our code reads it.

    python -m benchmarks.fuzz --mutants 10000

Wanted is that each mutant is accepted, or refused by one short error of ours. Mutants are read in processes that are
forked, so that one that hangs or takes all memory is counted, and the next goes on.
"""

from __future__ import annotations

import io
import json
import logging
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from typing import Any

import tyro

from benchmarks.fuzz_kinds import KINDS, Kind, fresh
from l2o_env.errors import ConfigError
from l2o_env.pairs.cache import _DamagedError

SECONDS = 5.0
"""Of processor time, that a reader may take."""
PATIENCE = 60.0
"""Seconds in which something has to come of a mutant; machines may have other things to do."""
MEMORY = 2**30
"""Bytes that a reader may take."""
MOST = 500
"""Characters that an error may have."""
BATCH = 500
"""Mutants of one process."""
NOT_MADE = "not made"
OUTCOMES = ("clean error", "accepted", "traceback", "over 5 s", "over 1 GB", "message over 500", "executed")


@dataclass(frozen=True)
class Args:
    """Counts what comes of mutants of files."""

    mutants: int = 200
    """Mutants of each kind."""
    kinds: tuple[str, ...] = ()
    """Kinds by the beginnings of their names; none: all."""
    seed: int = 0
    """Of the mutants."""
    examples: int = 3
    """Examples of each fault to print."""
    out: Path | None = None
    """File for the counts, as JSON."""


@dataclass
class Counts:
    """What came of the mutants of one kind, and examples of what should not have."""

    outcomes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, number: int, outcome: str, told: str) -> None:
        """Takes up what came of a mutant."""
        self.outcomes[outcome] += 1
        if outcome not in (*OUTCOMES[:2], NOT_MADE):
            self.examples.setdefault(f"{outcome}: {told}", (number, told))


class _HangError(BaseException):
    """A reader took too long."""


def main(args: Args) -> int:
    """Runs the mutants, and prints the table; returns 1 if there was anything but clean errors and accepted files."""
    logging.disable(logging.CRITICAL)
    names = [name for name in KINDS if not args.kinds or name.lstrip("`").startswith(args.kinds)]
    found: dict[str, Counts] = {}
    print(f"| {args.mutants} mutants each | {' | '.join(OUTCOMES)} |\n|---|{'---|' * len(OUTCOMES)}")
    for name in names:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(dir=_fast()) as root:
            found[name] = run(KINDS[name], args.mutants, args.seed, Path(root))
        print(f"| {name} | {' | '.join(str(found[name].outcomes[each]) for each in OUTCOMES)} |", flush=True)
        print(f"    {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        for text, (number, _) in list(found[name].examples.items())[: args.examples]:
            print(f"    {number}: {text}", file=sys.stderr, flush=True)
        if args.out is not None:
            args.out.write_text(json.dumps({each: counts.outcomes for each, counts in found.items()}, indent=2))
    return int(any(counts.examples for counts in found.values()))


def run(kind: Kind, n: int, seed: int, root: Path) -> Counts:
    """Reads mutants of a kind.

    Args:
        kind: The kind.
        n: How many.
        seed: Of the mutants.
        root: A folder to work in.
    """
    counts, sample = Counts(), root / "sample"
    fresh(kind, sample)
    with _quiet():
        kind.read(_copied(sample, root / "first"))  # else nothing that follows means anything
    begin = 0
    while begin < n:
        begin = _run_batch(kind, range(begin, min(begin + BATCH, n)), seed, root, counts)
    return counts


def _run_batch(kind: Kind, numbers: range, seed: int, root: Path, counts: Counts) -> int:
    """Reads some mutants in a process of their own; returns the number of the next."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _in_child(kind, numbers, seed, root, write_end)
    os.close(write_end)
    number, done = numbers.start, False
    with os.fdopen(read_end, "rb") as lines:
        while not done:
            line = lines.readline() if select([lines], [], [], PATIENCE)[0] else b"stuck"
            if line in (b"", b"stuck"):
                done = True
                if number < numbers.stop:
                    counts.add(number, "over 5 s" if line else "over 1 GB", "the process had to be killed, or died")
                    number += 1
                break
            outcome, told = json.loads(line)
            counts.add(number, outcome, told)
            number += 1
            done = number == numbers.stop
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return number


def _in_child(kind: Kind, numbers: Sequence[int], seed: int, root: Path, out: int) -> None:
    try:
        signal.signal(signal.SIGPROF, _hang)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        limit = _memory("VmSize") + 8 * MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        with _quiet():
            for number in numbers:
                line = json.dumps(outcome_of(kind, number, seed, root)) + "\n"
                os.write(out, line.encode())
    finally:
        os._exit(0)


def outcome_of(kind: Kind, number: int, seed: int, root: Path) -> tuple[str, str]:
    """What comes of one mutant, and what is told of it."""
    canary = root / "canary"
    folder = _copied(root / "sample", root / "mutant")
    rng = random.Random(f"{seed} {number}")
    try:
        kind.mutate(rng, folder, canary)
    except Exception:  # what the rules make of it takes too much memory, or is nothing that can be written
        return NOT_MADE, ""
    Path("/proc/self/clear_refs").write_text("5")
    before, outcome, told = _memory("VmRSS"), "accepted", ""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        kind.read(folder)
    except _HangError:
        outcome, told = "over 5 s", _place(sys.exc_info()[1])
    except (ConfigError, _DamagedError) as error:
        length = len(str(error).replace(str(folder), ""))
        outcome, told = ("clean error", "") if length <= MOST else ("message over 500", f"{length} {str(error)[:100]}")
    except Exception as error:
        outcome, told = "traceback", f"{type(error).__name__} {str(error)[:80]!r} at {_place(error)}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if _memory("VmHWM") - before > MEMORY:
        outcome, told = "over 1 GB", told
    if canary.exists():
        canary.unlink()
        outcome = "executed"
    return outcome, told


def _fast() -> str | None:
    """A folder in memory, where there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _copied(sample: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sample, folder)
    return folder


def _memory(key: str) -> int:
    """Bytes of this process, as Linux has them."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(key)


def _place(error: BaseException | None) -> str:
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    ours = [frame for frame in frames if "/l2o_env/" in frame.filename or "/agents/" in frame.filename]
    return f"{'/'.join(Path(ours[-1].filename).parts[-2:])}:{ours[-1].lineno}" if ours else "outside"


def _hang(*args: Any) -> None:
    raise _HangError


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing that readers print, and their warnings, are of interest here."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


if __name__ == "__main__":
    started = time.monotonic()
    status = main(tyro.cli(Args))
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    sys.exit(status)
