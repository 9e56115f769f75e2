"""``l2o opponents``: every name that tables can have is explained."""

from __future__ import annotations

import pytest

import train_policy
from agents.opponents import EXPLAINED, EXPLAINED_TUNED, OPPONENTS, RECIPES, TUNED, Schedule, default_opponents
from l2o_env.config import EnvConfig


def test_every_opponent_is_explained() -> None:
    assert list(EXPLAINED) == list(OPPONENTS)
    assert list(EXPLAINED_TUNED) == [name for names in TUNED.values() for name in names]


def test_the_rates_that_are_told_are_those_that_are_set() -> None:
    for name, opponent in default_opponents(EnvConfig()).items():
        if isinstance(opponent, Schedule) and name not in ("prodigy", "random-init") and "same" not in EXPLAINED[name]:
            assert f"{opponent.rate:g}" in EXPLAINED[name], name
    for name in ("adamw-warmup-cosine", "adamw-layer-decay"):  # "the same" as the line before
        assert RECIPES[name].rate == RECIPES["adamw-cosine"].rate
    assert f"{RECIPES['adamw-layer-decay'].layer_decay:g}" in EXPLAINED["adamw-layer-decay"]


def test_they_are_listed_in_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert train_policy.main(["opponents"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*EXPLAINED, *EXPLAINED_TUNED))
    assert "…" not in printed
