"""Interleaved timing, and memory in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.contenders import CLOCKS, Contender, Setting, Spec, close
from benchmarks.memory import peak_bytes
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


def peak_memory(setting: Setting, spec: Spec) -> int:
    """Bytes that a contender adds, at its peak, to a process that holds the pair; see ``peak_bytes``."""
    step, before = partial(_one_step, setting, spec), partial(_load, setting)
    return peak_bytes(step, setting.device, spec.threads, before=before)


def _load(setting: Setting) -> None:
    if setting.register is not None:
        setting.register()
    pairs.make(setting.pair)


def _one_step(setting: Setting, spec: Spec) -> Contender:
    contender = setting.build(spec)
    contender.reset()
    contender.step()
    return contender
