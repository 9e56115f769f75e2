"""Contestants: policies that runs left behind, common settings, tuned opponents."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from agents.commands.contestants import common_settings, find_policy, tuned_opponents
from agents.opponents import TUNED, Schedule
from agents.reinforce import Reinforce
from l2o_env.config import EnvConfig
from l2o_env.training import policies
from tests.agents.commands.jobs import CONFIG, run_folder


@pytest.fixture(scope="module", autouse=True)
def _two_pairs(tinies: tuple[str, str]) -> None:
    """Registers ``tiny`` and ``tiny-4``."""


def test_what_a_folder_says_of_its_policy(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "a", best=True)
    found = find_policy(str(run))
    assert (found.name, found.trained_on, found.config) == ("a", ("tiny",), CONFIG)
    assert found.checkpoints == {"last": run / "policy", "best": run / "policy-best"}
    lone = find_policy(f"mine={run / 'policy-best'}")
    assert (lone.name, lone.checkpoints) == ("mine", {"last": run / "policy-best"})


def test_how_runs_were_divided_does_not_keep_them_from_being_compared(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / str(n), replace(CONFIG, workers=n)) for n in (2, 1)]
    config = common_settings([find_policy(str(run)) for run in runs], {"device": "cpu"})
    assert (config.workers, config.budget) == (1, 4)


def test_opponents_that_were_being_tuned_are_not_taken_for_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tuned(rate: float) -> list[str]:
        agents = [Schedule(name, rate) for name in TUNED["uniform"]]
        searches = {"uniform": lambda *args: agents}
        monkeypatch.setattr("agents.commands.contestants.SEARCHES", searches)
        config = replace(CONFIG, base_lr=rate)
        found = tuned_opponents(["uniform"], "tiny", config, 8, 0, tmp_path, lambda name: nullcontext())
        return [str(each.load().rate) for each in found]  # type: ignore[attr-defined]

    assert tuned(0.5) == ["0.5"] * 2
    damaged = next(tmp_path.rglob("schedule.json"))
    damaged.write_text(damaged.read_text().replace("0.5", "0.7"))
    assert tuned(0.5) == ["0.5"] * 2
    save, saved = Schedule.save, []

    def interrupted(self: Schedule, folder: Path) -> None:
        if saved and folder.parent.parent == tmp_path:
            raise KeyboardInterrupt
        saved.append(folder)
        save(self, folder)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Schedule, "save", interrupted)
        tuned(0.25)
    assert tuned(0.5) == ["0.5"] * 2


def test_a_policy_that_comes_along_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "POLICIES", tmp_path)
    Reinforce(EnvConfig()).save(tmp_path / "mine")
    found = find_policy("mine")
    assert (found.name, found.checkpoints) == ("mine", {"last": tmp_path / "mine"})
    assert find_policy("theirs=mine").name == "theirs"
