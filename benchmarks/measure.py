"""Interleaved timing, and memory in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.contenders import CLOCKS, Contender, Setting, Spec, close
from benchmarks.raw_loop import Recipe
from l2o_env import pairs


@dataclass
class Timing:
    """What the rounds of one contender took.

    Attributes:
        spec: The contender.
        n_steps: Steps of an episode.
        updates_per_step: Updates of a step, over all optimizees.
        resets: Seconds of each round's reset, by clock.
        steps: Seconds of a step in each round (mean over its steps), by clock.
        outer_share: Share of the time of the steps that was spent outside of ``Population.run``, by clock and round.
    """

    spec: Spec
    n_steps: int
    updates_per_step: float
    resets: dict[str, list[float]] = field(default_factory=lambda: {clock: [] for clock in CLOCKS})
    steps: dict[str, list[float]] = field(default_factory=lambda: {clock: [] for clock in CLOCKS})
    outer_share: dict[str, list[float]] = field(default_factory=lambda: {clock: [] for clock in CLOCKS})

    def clear(self) -> None:
        """Forgets all rounds."""
        for values in (*self.resets.values(), *self.steps.values(), *self.outer_share.values()):
            values.clear()

    def updates_per_second(self, clock: str) -> NDArray[np.float64]:
        """All updates of an episode over all of its time, reset and validations included, in each round."""
        seconds = np.array(self.resets[clock]) + self.n_steps * np.array(self.steps[clock])
        return self.n_steps * self.updates_per_step / seconds

    def fits(self, clock: str) -> bool:
        """Whether the clock means something for this contender."""
        alone = self.spec.threads == 1 and self.spec.workers == 1 and self.spec.kind != "async"
        return clock == "wall" or alone


Say = Callable[[str], None]


def measure(
    setting: Setting, specs: Sequence[Spec], rounds: int, seconds: float, say: Say = lambda text: None
) -> list[Timing]:
    """Runs the contenders in turn, round after round, so that whatever slows the machine slows all of them.

    Args:
        setting: What they have in common.
        specs: The contenders.
        rounds: How often each is measured, after one round of warming up.
        seconds: About how long a measurement may take. Episodes that take longer are cut to as many steps (at least
            two) and extrapolated.
        say: Called with what is going on.
    """
    built: list[tuple[Spec, Contender, Timing]] = []
    try:
        for k, spec in enumerate(specs):
            say(f"building {spec} ({k + 1} of {len(specs)})")
            torch.set_num_threads(spec.threads)  # a population hands its threads out to its workers when it is built
            contender = setting.build(spec)
            built.append((spec, contender, Timing(spec, contender.n_steps, contender.updates_per_step)))
        n_steps: dict[Spec, int] = {}
        for spec, contender, timing in built:
            say(f"warming up {spec}")
            torch.set_num_threads(spec.threads)
            _run(contender, 1, timing, setting.device)
            taken = _run(contender, 1, timing, setting.device)
            n_steps[spec] = min(max(int(seconds / max(taken, 1e-9)), 2), contender.n_steps)
            timing.clear()
        for k in range(rounds):
            for spec, contender, timing in built:
                say(f"round {k + 1} of {rounds}: {spec}")
                torch.set_num_threads(spec.threads)
                _run(contender, n_steps[spec], timing, setting.device)
    finally:
        for _, contender, _ in built:
            close(contender)
    return [timing for _, _, timing in built]


def _run(contender: Contender, n_steps: int, timing: Timing, device: str) -> float:
    """A reset and some steps; the seconds of a step by the wall clock."""
    begin = _now(device)
    contender.reset()
    middle = _now(device)
    inner = dict(getattr(contender, "inner_seconds", {}))
    for _ in range(n_steps):
        contender.step()
    end = _now(device)
    for clock in CLOCKS:
        total = end[clock] - middle[clock]
        timing.resets[clock].append(middle[clock] - begin[clock])
        timing.steps[clock].append(total / n_steps)
        spent = getattr(contender, "inner_seconds", {}).get(clock, 0.0) - inner.get(clock, 0.0)
        if spent > 0:
            timing.outer_share[clock].append(1 - spent / total)
    return (end["wall"] - middle["wall"]) / n_steps


def _now(device: str) -> dict[str, float]:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return {clock: read() for clock, read in CLOCKS.items()}


def quartiles(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Median, and the first and third quartile."""
    first, median, third = (float(x) for x in np.quantile(values, [0.25, 0.5, 0.75]))
    return median, first, third


# --- memory ----------------------------------------------------------------------------------------------------------


def peak_memory(setting: Setting, spec: Spec) -> int:
    """Bytes that a contender adds to a process that holds the pair, at its peak; measured in a new process.

    What it loads (Numba, compiled kernels) counts. Of worker processes the memory that is not shared with others is
    added (proportional set size after a step). On a GPU it is the peak of the allocated device memory.
    """
    command = [sys.executable, "-m", "benchmarks.measure", str(spec), json.dumps(_as_json(setting))]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise RuntimeError(f"Measuring the memory of {spec} failed:\n{found.stderr[-2000:]}")
    return int(found.stdout.split()[-1])


def _as_json(setting: Setting) -> dict[str, Any]:
    register = setting.register
    where = None if register is None else f"{register.__module__}:{register.__qualname__}"
    return {"pair": setting.pair, "recipe": setting.recipe._asdict(), "device": setting.device, "register": where}


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}; memory is measured on Linux only.")


def _of_children() -> int:
    total = 0
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                total += int(line.split()[1]) * 1024 if line.startswith("Pss:") else 0
    return total


def _measure_here(spec: Spec, setting: Setting) -> int:
    torch.set_num_threads(spec.threads)
    pairs.make(setting.pair)
    device = torch.device(setting.device)
    # A first operation on the device: what PyTorch itself takes is no one's share.
    torch.nn.functional.conv2d(torch.zeros(1, 1, 3, 3, device=device), torch.zeros(1, 1, 3, 3, device=device))
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    contender = setting.build(spec)
    contender.reset()
    contender.step()
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else _status("VmHWM") + _of_children()
    close(contender)
    return peak - before


def _main() -> None:
    from importlib import import_module

    given = json.loads(sys.argv[2])
    if given["register"] is not None:
        module, _, name = given["register"].partition(":")
        getattr(import_module(module), name)()
    setting = Setting(given["pair"], Recipe(**given["recipe"]), given["device"])
    print(_measure_here(Spec.parse(sys.argv[1]), setting))


if __name__ == "__main__":
    _main()
