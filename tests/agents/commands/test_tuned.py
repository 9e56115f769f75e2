"""Opponents that are tuned on the very pair."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from agents.commands.tuned import tuned_opponents
from agents.opponents import TUNED, Schedule
from tests.agents.commands.jobs import CONFIG

pytestmark = pytest.mark.usefixtures("tinies")


def test_opponents_that_were_being_tuned_are_not_taken_for_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tuned(rate: float) -> list[str]:
        agents = [Schedule(name, rate) for name in TUNED["uniform"]]
        searches = {"uniform": lambda *args: agents}
        monkeypatch.setattr("agents.commands.tuned.SEARCHES", searches)
        config = replace(CONFIG, base_lr=rate)
        found = tuned_opponents(["uniform"], ["tiny"], config, 8, 0, tmp_path, lambda *names: nullcontext())
        return [str(each.load().rate) for each in found]  # type: ignore[attr-defined]

    assert tuned(0.5) == ["0.5"] * 2
    damaged = next(tmp_path.rglob("schedule.json"))
    damaged.write_text(damaged.read_text().replace("0.5", "0.7"))
    assert tuned(0.5) == ["0.5"] * 2
    save, saved = Schedule.save, []

    def interrupted(self: Schedule, folder: Path) -> None:
        if saved and folder.parent.parent.parent == tmp_path:
            raise KeyboardInterrupt
        saved.append(folder)
        save(self, folder)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Schedule, "save", interrupted)
        tuned(0.25)
    assert tuned(0.5) == ["0.5"] * 2
