"""Contestants: policies that runs left behind, common settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agents.commands.contestants import common_settings, find_policy
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


def test_policies_are_judged_alike_whatever_they_were_rewarded_for(tmp_path: Path) -> None:
    trained = [replace(CONFIG, reward="proxy_guided", kl_weight=w) for w in (1.0, 2.0)]
    runs = [find_policy(str(run_folder(tmp_path / str(k), config))) for k, config in enumerate(trained)]
    config = common_settings(runs, {"device": "cpu"})
    assert (config.reward, config.kl_weight) == ("transfer", "auto")
    config = common_settings(runs, {"reward": "proxy_guided", "kl_weight": 1.0})
    assert (config.reward, config.kl_weight) == ("proxy_guided", 1.0)


def test_a_policy_that_comes_along_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "POLICIES", tmp_path)
    Reinforce(EnvConfig()).save(tmp_path / "mine")
    found = find_policy("mine")
    assert (found.name, found.checkpoints) == ("mine", {"last": tmp_path / "mine"})
    assert find_policy("theirs=mine").name == "theirs"
