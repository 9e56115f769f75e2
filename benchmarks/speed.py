"""Speed of the environments beside a raw PyTorch loop: ``python -m benchmarks.speed``."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from tyro.conf import FlagCreatePairsOff, arg

from benchmarks.contenders import Setting, Spec
from benchmarks.dacbench_env import installed
from benchmarks.measure import Timing, measure, peak_memory, quartiles
from benchmarks.progress import say, write_json
from benchmarks.raw_loop import Recipe
from benchmarks.startup import import_ratio
from benchmarks.targets import targets
from l2o_env.config import EnvConfig, resolve_device
from l2o_env.errors import ConfigError, require_integer
from l2o_env.inner.memory import fitting_num_envs

POPULATIONS = (1, 4, 16, 64, 256)
N_GYMNASIUM = 4
"""Environments of Gymnasium's own vector environments."""


@dataclass(frozen=True)
class SpeedArgs:
    """Measures optimizer updates per second of the environments, interleaved with a raw PyTorch loop."""

    contenders: tuple[str, ...] = ()
    """What to measure: kind[-n][/window][xworkers][@threads]. Kinds: raw, single, population, sync, async,
    dacbench-epoch, dacbench-batch. None: all that make sense here."""
    pair: str = "glyphs-digits"
    """Name of the pair."""
    device: str = "auto"
    """Torch device; auto takes a GPU if there is one."""
    threads: int | None = None
    """Threads and worker processes of the largest configuration; default: the cores of this process."""
    rounds: int = 5
    """Interleaved rounds after warming up."""
    seconds: float = 2.0
    """About how long one measurement may take, in seconds; longer episodes are cut and extrapolated."""
    clock: Literal["wall", "cpu"] = "wall"
    """Clock of the table: wall, or the time of this process on the processor, for machines that others use too."""
    memory: bool = True
    """Measure memory too, each contender in a process of its own."""
    quick: FlagCreatePairsOff[bool] = False
    """Fewer contenders, two short rounds."""
    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write everything that was measured."""

    def __post_init__(self) -> None:
        require_integer("--rounds", self.rounds)
        require_integer("--threads", self.threads or 1)
        if not self.seconds > 0:
            raise ConfigError(f"--seconds is {self.seconds}; expected a number > 0.")


def default_contenders(device: str, threads: int, quick: bool, dacbench: bool) -> list[str]:
    """The names of what is measured if nothing is named."""
    sizes = POPULATIONS[:3] if quick else POPULATIONS
    names = ["raw@1", "single@1", *(f"population-{n}@1" for n in sizes), f"sync-{N_GYMNASIUM}@1", "single/1@1"]
    if dacbench and device == "cpu":
        names += ["dacbench-epoch@1", "dacbench-batch@1"]
    if device == "cpu" and threads > 1:
        names += [f"raw@{threads}", f"population-16@{threads}", f"population-16x{threads}@{threads}"]
        names += [] if quick else [f"population-64@{threads}", f"population-64x{threads}@{threads}"]
        names.append(f"async-{N_GYMNASIUM}@1")
    return names


def run(args: SpeedArgs, setting: Setting | None = None) -> dict[str, Any]:
    """Measures; returns what ``--json`` writes. A setting replaces that of the arguments."""
    device = str(resolve_device(args.device))
    threads = args.threads or len(os.sched_getaffinity(0))
    setting = setting or Setting(args.pair, Recipe(), device)
    names = list(args.contenders) or default_contenders(device, threads, args.quick, installed())
    if not args.contenders and not args.quick and device != "cpu":
        say("looking how many optimizees fit")
        fitting = fitting_num_envs(EnvConfig(pairs=(setting.pair,), device=device, **setting.recipe._asdict()))
        names.append(f"population-{fitting}@1")
    specs = [Spec.parse(name) for name in names]
    rounds, seconds = (2, 0.3) if args.quick else (args.rounds, args.seconds)
    timings = measure(setting, specs, rounds, seconds, say)
    memory: dict[str, int] = {}
    if args.memory:
        for spec in specs:
            say(f"memory of {spec}")
            memory[str(spec)] = peak_memory(setting, spec)
    say("import")
    ratio, imports = import_ratio(1 if args.quick else 3)
    say("")
    rows = [_row(timing, _reference(timings, args.clock), memory, args.clock) for timing in timings]
    per_optimizee = _memory_per_optimizee(memory)
    shown = {"rows": rows, "import_ratio": ratio, "memory_per_optimizee": per_optimizee, "setting": _described(setting)}
    return {
        "machine": _machine(device, threads),
        "clock": args.clock,
        "rounds": rounds,
        **shown,
        "targets": targets(shown, device),
        "imports": imports,
        "raw_data": [{**asdict(timing), "spec": str(timing.spec)} for timing in timings],
    }


def _reference(timings: Sequence[Timing], clock: str) -> Timing | None:
    """The fastest raw loop."""
    raw = [t for t in timings if t.spec.kind == "raw" and t.spec.window is None and t.fits(clock)]
    return max(raw, key=lambda t: float(np.median(t.updates_per_second(clock))), default=None)


def _row(timing: Timing, reference: Timing | None, memory: dict[str, int], clock: str) -> dict[str, Any]:
    row: dict[str, Any] = {"contender": str(timing.spec), "n": timing.spec.n}
    if timing.fits(clock):
        rate = timing.updates_per_second(clock)
        row["updates_per_second"] = quartiles(rate)
        row["steps_per_second"] = float(np.median(rate)) * timing.spec.n / timing.updates_per_step
        if reference is not None:
            row["ratio"] = quartiles(rate / reference.updates_per_second(clock))
    if timing.outer_share[clock] and timing.fits(clock):
        row["outer_share"] = quartiles(np.array(timing.outer_share[clock]))
    if str(timing.spec) in memory:
        row["peak_memory"] = memory[str(timing.spec)]
    return row


def _memory_per_optimizee(memory: dict[str, int]) -> float | None:
    """Bytes that one more stacked optimizee takes: the slope between the two largest populations of one process."""
    sizes = sorted((Spec.parse(name).n, bytes_) for name, bytes_ in memory.items() if _is_plain_population(name))
    if len(sizes) < 2:
        return None
    (n0, bytes0), (n1, bytes1) = sizes[-2:]
    return (bytes1 - bytes0) / (n1 - n0)


def _is_plain_population(name: str) -> bool:
    spec = Spec.parse(name)
    return spec.kind == "population" and spec.workers == 1 and spec.threads == 1 and spec.window is None


def _described(setting: Setting) -> dict[str, Any]:
    from l2o_env import pairs

    n_weights = pairs.make(setting.pair).layout.n_weights
    return {"pair": setting.pair, **setting.recipe._asdict(), "n_weights": n_weights}


def _machine(device: str, threads: int) -> dict[str, Any]:
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    found = {"cpu": name, "cores": len(os.sched_getaffinity(0)), "threads": threads, "torch": torch.__version__}
    if torch.device(device).type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def table(found: dict[str, Any]) -> str:
    """The result as Markdown."""
    head = ["contender", "updates/s", "env steps/s", "÷ raw", "outside the inner loop", "peak memory", "per optimizee"]
    lines = [head]
    for row in found["rows"]:
        memory = row.get("peak_memory")
        lines.append(
            [
                row["contender"],
                _spread(row.get("updates_per_second"), ".0f"),
                f"{row['steps_per_second']:.1f}" if "steps_per_second" in row else "–",
                _spread(row.get("ratio"), ".2f"),
                f"{row['outer_share'][0]:.1%}" if "outer_share" in row else "–",
                "–" if memory is None else f"{memory / 2**20:.1f} MiB",
                _per_optimizee(row, found["rows"]),
            ]
        )
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    text = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    text.insert(1, "-|-".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" if k != 1 else f"|-{line}-|" for k, line in enumerate(text))


def _per_optimizee(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Memory of one more optimizee, from that of one alone."""
    spec = Spec.parse(row["contender"])
    one = next((r for r in rows if r["contender"] == str(replace(spec, n=1))), {})
    if spec.n == 1 or "peak_memory" not in row or "peak_memory" not in one:
        return "–"
    return f"{(row['peak_memory'] - one['peak_memory']) / (spec.n - 1) / 2**10:.0f} KiB"


def _spread(values: Sequence[float] | None, form: str) -> str:
    if values is None:
        return "–"
    median, first, third = values
    return f"{median:{form}} ({first:{form}}–{third:{form}})"


def main(arguments: Sequence[str] | None = None, setting: Setting | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    args = tyro.cli(SpeedArgs, prog="python -m benchmarks.speed", args=arguments)
    try:
        found = run(args, setting)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    machine = ", ".join(f"{key} {value}" for key, value in found["machine"].items())
    print(f"{machine}; {found['rounds']} rounds, {found['clock']} clock, median (quartiles)\n")
    print(table(found))
    print()
    for target in found["targets"]:
        measured = "open" if target["measured"] is None else f"{target['measured']:.3g}"
        verdict = "" if target["met"] is None else "met" if target["met"] else "NOT met"
        print(f"{target['what']:<72} {measured:>8}  target {target['target']:<7} {verdict}")
    write_json(args.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
