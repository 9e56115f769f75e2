"""``l2o audit``: its figures, on hand-made frames and on the tiny pair."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import train_policy
from agents.commands import audit
from agents.commands.audit import rank_correlation, table, top_loss, values
from agents.commands.audit_runs import good_runs, random_runs
from agents.opponents import Schedule
from agents.reinforce import Reinforce
from l2o_env import pairs
from l2o_env.config import EnvConfig
from l2o_env.evaluation.rollout import episode_seeds, run_episodes
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.agents.commands.jobs import run_folder
from tests.tiny import TINY, tiny_pair


def _frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "val_ce": [0.1, 0.2, 0.3, 0.4],
            "val_kl": [0.9, 0.5, 0.2, 0.0],
            "shifted_accuracy": [0.5, 0.6, 0.7, 0.8],
            "shifted_kl": [0.9, 0.6, 0.3, 0.0],
            "validation_accuracy": [0.9, 0.8, 0.7, 0.6],
            "real_accuracy": [0.1, 0.2, 0.3, 0.4],
        }
    )


def test_rank_correlations_by_hand() -> None:
    accuracy = _frame()["real_accuracy"]
    found = values(_frame(), (0.0, 0.3, 1.0), 0.5)
    assert list(found) == [
        "transfer",
        "-(CE_val + 0 KL_val)",
        "-(CE_val + 0.3 KL_val)",
        "-(CE_val + 1 KL_val)",
        "validation accuracy",
    ]
    transfer, ce, mixed, both, validation = found.values()
    assert transfer.tolist() == pytest.approx([0.05, 0.3, 0.55, 0.8])
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


def test_good_runs_are_means_over_seeds(tiny: str) -> None:
    config = EnvConfig(**{**TINY, "optimizer": "adamw"})
    policies = [Reinforce(config, seed=1), Schedule("own", 1e-3)]
    policies[0].name = "learned"
    found = good_runs(config, 40, 3, policies).set_index("candidate")
    assert len(found) == 40 + 6 + 2
    assert {"schedule 0", "adamw-cosine", "prodigy", "learned", "own"} <= set(found.index)
    assert found["real_accuracy"].between(0, 1).all() and (found["diverged"] == 0).all()
    venv = Syn2RealVectorEnv(2, **{**asdict(config), "reward": "proxy_guided", "kl_weight": 1.0})
    for agent in policies:
        alone = run_episodes(venv, agent, seeds=episode_seeds(3, "audit good", 2), splits=("target",))
        value = -(found.loc[agent.name, "val_ce"] + found.loc[agent.name, "val_kl"])
        assert value == pytest.approx(alone.v_end.mean(), abs=1e-4)
        assert found.loc[agent.name, "real_accuracy"] == pytest.approx(alone.accuracy["target"].mean())


def test_among_good_ones_each_value_is_judged_by_its_own_best(tiny: str) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"val_ce": rng.uniform(size=50), "val_kl": rng.uniform(size=50), "diverged": 0.0, "validation_accuracy": 0.5}
    ).assign(shifted_accuracy=0.5, shifted_kl=0.0)
    frame["real_accuracy"] = np.where(frame["val_ce"].rank() <= 10, -frame["val_ce"], frame["val_ce"])
    found = table(tiny, {"kl": frame}, [0.0], 0.2, good=True)
    cells = [list(column.cells) for column in found.columns]
    assert (cells[0][1], cells[1][1], cells[2][1]) == ("-(CE_val + 0 KL_val)", "1.00", "0.000")
    assert cells[1][2] == "-"  # one validation accuracy for all
    assert "the best fifth by V of 50 good candidates" in str(found.title)


def test_the_audit_among_good_ones_takes_trainings(
    tmp_path: Path, tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--runs", "40", "--env", "budget=4", "--env", "window=2", "--device", "cpu"]
    run = run_folder(tmp_path / "a")
    assert train_policy.main(["audit", tiny, "--among", "good", "--policies", str(run), *options]) == 0
    assert "the best fifth by V of 47 good candidates" in " ".join(capsys.readouterr().out.split())
    assert train_policy.main(["audit", tiny, "--policies", str(run)]) == 2
    assert "give --among good too" in capsys.readouterr().err


def test_the_audit_prints_one_table_per_pair(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--runs 8 --kl-weights 0 20 --env budget=4 --env window=2 --device cpu"
    assert train_policy.main(["audit", tiny, *options.split()]) == 0
    printed = capsys.readouterr().out
    assert "tiny: Spearman" in printed
    assert all(value in printed for value in ("-(CE_val + 0 KL_val)", "-(CE_val + 20 KL_val)", "validation accuracy"))
    assert train_policy.main(["audit", "tyni"]) == 2
    assert "Did you mean 'tiny'" in capsys.readouterr().err


def test_the_runs_of_an_audit_are_kept(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--runs", "8", "--env", "budget=4", "--env", "window=2", "--device", "cpu"]
    arguments = ["audit", tiny, *options, "--out", str(tmp_path / "audit")]
    assert train_policy.main(arguments) == 0
    printed = capsys.readouterr().out
    frame = pd.read_csv(tmp_path / "audit" / "audit.csv")
    assert frame.groupby(["pair", "guidance"]).size().tolist() == [8, 8]
    monkeypatch.setattr(audit, "random_runs", list)  # would fail
    assert train_policy.main(arguments) == 0
    assert capsys.readouterr().out == printed


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
        ("--runs 39 --among good", "--runs is 39; expected an integer >= 40"),
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


def test_of_few_runs_the_better_half_is_asked_for() -> None:
    scores = np.linspace(0.1, 0.8, 8)
    frame = pd.DataFrame({"val_ce": scores, "val_kl": 0.0, "validation_accuracy": scores[::-1]})
    frame = frame.assign(
        real_accuracy=scores, diverged=0, shifted_accuracy=-scores, shifted_kl=0.0
    )  # the lower V, the better: the worst that can be
    printed = table("tiny", {"kl": frame}, [1.0], 0.2)
    assert [str(column.header) for column in printed.columns][-1] == "top 4 below best"
    assert next(iter(printed.columns[-1].cells)) == "0.400"
