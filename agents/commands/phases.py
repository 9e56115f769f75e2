"""How far a job is, and how long the rest of it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple


def duration(seconds: float) -> str:
    """A time as people say it: ``"43 s"``, ``"12 min"``, ``"1 h 40 min"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


class Phase(NamedTuple):
    """A part of a job that is one stage.

    Attributes:
        kind: Phases of one kind take equally long for the same work.
        work: How much there is to do, in any unit that is that of all phases.
    """

    kind: str
    work: float


class Phases:
    """The phases of a job in turn, and how long those took that are over.

    Args:
        phases: All of them.
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        self._phases, self._place = list(phases), -1
        self._spent: dict[str, tuple[float, float]] = {}

    def begin(self) -> str:
        """Goes on to the next phase; returns its number, ``"2/7"``."""
        self._place += 1
        return f"{self._place + 1}/{len(self._phases)}"

    def end(self, share: float, seconds: float) -> None:
        """Notes what this phase took.

        Args:
            share: How much of it was done in that time, 0 to 1.
            seconds: The time.
        """
        self._spent = self._with(share, seconds)

    def left(self, done: float, share: float, seconds: float) -> float | None:
        """Seconds that this phase and the later ones take, or None if nothing was measured yet.

        A kind that was not measured is taken to be as fast as the others.

        Args:
            done: How much of this phase is done, 0 to 1.
            share: How much of it was done in `seconds`; less, if it goes on where another process ended.
            seconds: See `share`.
        """
        spent = self._with(share, seconds)
        work, time_taken = (sum(column) for column in zip(*spent.values(), strict=True))
        if not work:
            return None
        now, *later = self._phases[self._place :]
        rates = {kind: seconds / work for kind, (work, seconds) in spent.items() if work}
        rest = [now._replace(work=now.work * (1 - done)), *later]
        return sum(each.work * rates.get(each.kind, time_taken / work) for each in rest)

    def _with(self, share: float, seconds: float) -> dict[str, tuple[float, float]]:
        now = self._phases[self._place]
        work, before = self._spent.get(now.kind, (0.0, 0.0))
        return {**self._spent, now.kind: (work + share * now.work, before + seconds)}


class Stage:
    """Where a stage is, and since when.

    Args:
        title: What is done.
        total: How many units of it.
        unit: What they are called, such as ``"episodes"``.
        done: Those that another process did before.
        phases: Of the whole job, if the stage is one of several that were planned.
    """

    def __init__(self, title: str, total: int, unit: str, done: int = 0, phases: Phases | None = None) -> None:
        self.title = f"{phases.begin()} {title}" if phases else title
        self.total, self.unit, self.done, self.detail = total, unit, done, ""
        self._before, self._phases, self._started = done, phases, time.perf_counter()

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.perf_counter() - self._started

    def move(self, done: int, detail: str = "", total: int | None = None) -> None:
        """Notes how far it is; see :class:`agents.commands.console.Update`."""
        self.done, self.detail = done, detail
        self.total = self.total if total is None else total

    def end(self) -> None:
        """Notes for the estimates of later stages what this one took."""
        if self._phases:
            self._phases.end(self._share(self.done - self._before), self.seconds)

    def counts(self) -> str:
        """How far it is: ``"120/320 episodes"``."""
        return f"{self.done:,}/{self.total:,} {self.unit}"

    def times(self) -> list[str]:
        """How long it has run, how long it takes yet, and the whole job, as far as that is known."""
        seconds, made = self.seconds, self.done - self._before
        texts = [duration(seconds)]
        if made > 0:
            texts.append(f"{duration(seconds * (self.total - self.done) / made)} left")
        if self._phases:
            left = self._phases.left(self._share(self.done), self._share(made), seconds)
            texts += [] if left is None else [f"{duration(left)} left in all"]
        return texts

    def _share(self, done: float) -> float:
        return min(done / max(self.total, 1), 1.0)


class UpdateClock:
    """Measures once what an optimizer update takes, on the second and third window: the first one compiles and loads.

    Args:
        tell: Called once with the seconds.
    """

    def __init__(self, tell: Callable[[float], None]) -> None:
        self._tell, self._seen = tell, list[tuple[int, float]]()

    def __call__(self, updates: int) -> None:
        """Notes that so many updates were made so far.

        Args:
            updates: By all networks together.
        """
        if len(self._seen) == 3:
            return
        self._seen.append((updates, time.perf_counter()))
        if len(self._seen) == 3:
            (before, started), _, (after, ended) = self._seen
            if after > before:
                self._tell((ended - started) / (after - before))
