"""What ``compile=True`` gains: our populations and a raw loop of the same network, compiled and not.

``python -m benchmarks.compiled`` runs ResNet-18 on random images of 64 and 224 pixels and the embedded network that has
no kernels, one optimizee and a population of 16, on one thread unless told otherwise.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from tyro.conf import FlagCreatePairsOff, arg

from benchmarks.measure import quartiles
from benchmarks.progress import say, write_json
from benchmarks.raw_loop import RawLoop, Recipe
from benchmarks.synthetic import backbone_pair
from l2o_env import pairs
from l2o_env.config import EnvConfig, resolve_device
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.window import Start

LOOPS = ("raw", "raw, compiled", "ours", "ours, compiled")
RATE = 0.01


@dataclass(frozen=True)
class CompiledArgs:
    """Measures updates with and without ``torch.compile``, and after how many of them compiling has paid."""

    cases: tuple[str, ...] = (
        "resnet18@64",
        "resnet18@224",
        *(f"glyphs-digits:network=unnormalised*{n}" for n in (1, 16)),
    )
    """NETWORK@PIXELS for a network of torchvision on random images, PAIR*N for a population of N on a pair."""
    window: int = 15
    """Updates of a measurement; each loop validates after them."""
    rounds: int = 5
    """Interleaved rounds after warming up."""
    threads: int = 1
    """Threads of PyTorch."""
    device: str = "auto"
    """Torch device; auto takes a GPU if there is one."""
    quick: FlagCreatePairsOff[bool] = False
    """Batches of 4, one round."""
    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the figures."""


def loops_of(case: str, args: CompiledArgs) -> tuple[dict[str, Callable[[], object]], int]:
    """What makes a window of updates, by name; and how many optimizees ours has."""
    device, budget = str(resolve_device(args.device)), args.window * (args.rounds + 2)
    batch, n = 4 if args.quick else 32, 1
    if "@" in case:
        network, _, side = case.partition("@")
        pair = backbone_pair(network, int(side), batch)
    else:
        name, _, number = case.partition("*")
        pair, n = pairs.make(name), int(number or 1)
    recipe = Recipe(budget=budget, window=args.window, batch_size=batch)
    loops: dict[str, Callable[[], object]] = {}
    for name in LOOPS:
        compile = name.endswith("compiled")
        if name.startswith("raw"):
            raw = RawLoop(pair, recipe, device, compile=compile)
            raw.start()
            rates = [RATE] * pair.layout.n_layers
            loops[name] = lambda raw=raw, rates=rates: raw.window(rates)  # type: ignore[misc]
            continue
        config = EnvConfig(pairs=(pair.name,), device=device, compile=compile, **recipe._asdict())
        kind = StackedPopulation if n > 1 else LoopedPopulation
        population = kind([pair], n, config)
        population.start({i: Start(0, i, i) for i in range(n)})
        lengths, given = np.full(n, args.window), np.full((n, population.n_layers), RATE)
        loops[name] = lambda p=population, r=given, u=lengths: p.run(r, u)  # type: ignore[misc]
    return loops, n


def run(args: CompiledArgs) -> dict[str, Any]:
    """Measures; returns what ``--json`` writes."""
    torch.set_num_threads(args.threads)
    rows: list[dict[str, Any]] = []
    rounds = 1 if args.quick else args.rounds
    for case in args.cases:
        say(f"building {case}")
        loops, n = loops_of(case, args)
        first: dict[str, float] = {}
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        for k in range(rounds + 1):
            for name, loop in loops.items():
                say(f"{case}, {f'round {k} of {rounds}' if k else 'first window'}: {name}")
                took = _seconds(loop, args.device)
                if k:
                    seconds[name].append(took)
                else:
                    first[name] = took
        # Per update and optimizee; a raw loop has one.
        each = {name: np.array(s) / (args.window * (n if "ours" in name else 1)) for name, s in seconds.items()}
        for name in loops:
            base = name.removesuffix(", compiled")
            gained = float(np.median(each[base]) - np.median(each[name]))
            row = {"case": case, "loop": name, "ratio": quartiles(each["raw"] / each[name]), "start": first[name]}
            if name != base:
                extra = max(first[name] - first[base], 0.0)
                row["break_even"] = extra / gained if gained > 0 else None
            rows.append(row)
    say("")
    return {"device": str(resolve_device(args.device)), "rounds": rounds, "threads": args.threads, "rows": rows}


def _seconds(loop: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    loop()
    if resolve_device(device).type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def table(found: dict[str, Any]) -> str:
    """The result as text."""
    lines = [f"{'network':<24}{'loop':<18}{'updates/s ÷ raw':>22}{'first window':>14}{'pays after':>18}"]
    for row in found["rows"]:
        ratio, low, high = row["ratio"]
        pays = ""
        if "break_even" in row:
            pays = "never" if row["break_even"] is None else f"{row['break_even']:,.0f} updates"
        speed = f"{ratio:.2f} ({low:.2f}–{high:.2f})"
        lines.append(f"{row['case']:<24}{row['loop']:<18}{speed:>22}{row['start']:>12.1f} s{pays:>18}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    args = tyro.cli(CompiledArgs, prog="python -m benchmarks.compiled", args=arguments)
    with tempfile.TemporaryDirectory() as folder:  # what was compiled before must not make the first window quick
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        found = run(args)
    print(f"Device {found['device']}, {found['threads']} thread(s), medians of {found['rounds']} rounds (quartiles)\n")
    print(table(found))
    write_json(args.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
