"""``l2o audit``: its figures, on hand-made frames and on the tiny pair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import train_policy
from agents.commands.audit import random_runs, rank_correlation, top_loss, values
from l2o_env import pairs
from l2o_env.config import EnvConfig
from tests.tiny import tiny_pair


def _frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "val_ce": [0.1, 0.2, 0.3, 0.4],
            "val_kl": [0.9, 0.5, 0.2, 0.0],
            "validation_accuracy": [0.9, 0.8, 0.7, 0.6],
            "real_accuracy": [0.1, 0.2, 0.3, 0.4],
        }
    )


def test_rank_correlations_by_hand() -> None:
    accuracy = _frame()["real_accuracy"]
    found = values(_frame(), (0.0, 0.3, 1.0))
    assert list(found) == [
        "-(CE_val + 0 KL_val)",
        "-(CE_val + 0.3 KL_val)",
        "-(CE_val + 1 KL_val)",
        "validation accuracy",
    ]
    ce, mixed, both, validation = found.values()
    assert mixed.tolist() == pytest.approx([-0.37, -0.35, -0.36, -0.4])
    assert [rank_correlation(value, accuracy) for value in (ce, both)] == [-1.0, 1.0]
    assert rank_correlation(mixed, accuracy) == pytest.approx(-0.4)
    assert rank_correlation(validation, accuracy) == -1.0
    assert top_loss(ce, accuracy, 2) == pytest.approx(0.35 - 0.15)
    assert top_loss(both, accuracy, 2) == pytest.approx(0.0)


def test_random_runs_are_the_same_for_the_same_seed(tiny: str) -> None:
    config = EnvConfig(pairs=(tiny,), budget=4, window=2)
    first, again = (random_runs(config, 20, 1) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert len(first) == 20
    rates = first[["lr_stem", "lr_layer1", "lr_head"]].to_numpy()
    assert config.lr_min <= rates.min() < 1e-4 < 3e-3 < rates.max() <= config.lr_max
    assert len(np.unique(rates)) == 60
    other = random_runs(EnvConfig(pairs=(tiny,), budget=4, window=2, guidance="none"), 20, 1)
    np.testing.assert_array_equal(other[["lr_stem", "lr_layer1", "lr_head"]], rates)
    assert (other["val_ce"] != first["val_ce"]).any()


def test_the_audit_prints_one_table_per_pair(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--runs 8 --kl-weights 0 20 --env budget=4 --env window=2 --device cpu"
    assert train_policy.main(["audit", tiny, *options.split()]) == 0
    printed = capsys.readouterr().out
    assert "tiny: Spearman" in printed
    assert all(value in printed for value in ("-(CE_val + 0 KL_val)", "-(CE_val + 20 KL_val)", "validation accuracy"))
    assert train_policy.main(["audit", "tyni"]) == 2
    assert "Did you mean 'tiny'" in capsys.readouterr().err


def test_a_pair_without_a_target_is_told_before_any_runs(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    if "untargeted" not in pairs.names():
        pairs.register("untargeted", lambda: replace(tiny_pair(name="untargeted"), target=None))
    options = ["--runs", "8", "--env", "budget=4", "--env", "window=2", "--device", "cpu"]
    assert train_policy.main(["audit", tiny, "untargeted", *options]) == 2
    printed = capsys.readouterr()
    told = "Pair 'untargeted' has no labelled target images, so there is no accuracy on them; give it some: target=…."
    assert printed.err.splitlines() == [f"error: {told}"]
    assert printed.out == ""


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--runs 7", "--runs is 7; expected an integer >= 8"),
        ("glyphs-digit", "Did you mean 'glyphs-digits'?"),
        ("--kl-weights 1 -2", "--kl-weights has -2.0; expected finite numbers >= 0"),
        ("--env kl_weight=2", "--env sets kl_weight, which this command has options of its own for"),
    ],
)
def test_bad_options_of_the_audit_are_one_line(options: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_policy.main(["audit", *options.split()]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
