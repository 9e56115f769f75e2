"""How long the rest of a job takes, and how times are told."""

from __future__ import annotations

import pytest

from agents.commands import phases as module
from agents.commands.phases import Phase, Phases, Stage, UpdateClock, duration


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def perf_counter(self) -> float:
        """The time, in seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (43.4, "43 s"), (89.4, "89 s"), (100, "2 min"), (700, "12 min"), (6000, "1 h 40 min")],
)
def test_times_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_is_left_is_reckoned_with_what_each_kind_took() -> None:
    phases = Phases([Phase("train", 100), Phase("tune", 50), Phase("evaluate", 10), Phase("tune", 50)])
    assert phases.begin() == "1/4"
    assert phases.left(0.0, 0.0, 1.0) is None
    # 50 of 100 in 5 s: 0.1 s each; 50 + 50 + 10 + 50 are left, and nothing else is known.
    assert phases.left(0.5, 0.5, 5.0) == pytest.approx(16.0)
    phases.end(1.0, 10.0)
    assert phases.begin() == "2/4"
    # 25 of 50 in 5 s: 0.2 s each. For the evaluation the mean over 125 in 15 s is taken: 0.12 s each.
    assert phases.left(0.5, 0.5, 5.0) == pytest.approx(25 * 0.2 + 10 * 0.12 + 50 * 0.2)


def test_a_stage_that_goes_on_is_as_fast_as_it_is_here(clock: Clock) -> None:
    stage = Stage("Training", 100, "episodes", done=80, phases=Phases([Phase("train", 100), Phase("tune", 100)]))
    assert stage.title == "1/2 Training"
    clock.now += 5
    assert stage.times() == ["5 s"]
    stage.move(90)  # ten in 5 s
    assert stage.counts() == "90/100 episodes"
    assert stage.times() == ["5 s", "5 s left", "55 s left in all"]


def test_an_update_is_timed_when_everything_is_loaded(clock: Clock) -> None:
    told: list[float] = []
    measure = UpdateClock(told.append)
    for updates, seconds in ((10, 7.0), (20, 1.0), (30, 1.0), (40, 9.0)):
        clock.now += seconds
        measure(updates)
    assert told == [0.1]
