"""The paper's table: its rows, its claims, its text and files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import train_policy
from agents.algorithms.table import configure
from agents.commands.paper_rows import (
    BY_KEY,
    CLAIMS,
    ROWS,
    Finding,
    Row,
    agent_of,
    check_claims,
    mean_and_half_width,
    verdict,
)
from agents.commands.printed_tables import evaluation_table, metric_note, results_table
from agents.commands.table import TableArgs, cells, claim_lines, table
from agents.factory import load
from agents.opponents.schedules import RandomRates, Schedule
from agents.reinforce.agent import Reinforce
from l2o_env import pairs
from l2o_env.config import EnvConfig
from l2o_env.evaluation.evaluate import COLUMNS, summarise
from tests.tiny import TinyNet, tiny_pair

WEIGHTS = TableArgs().weights
FAST = ["--seeds", "3", "--budget", "4", "--window", "2", "--episodes", "4", "--device", "cpu"]


def _frame(**accuracies: list[float]) -> pd.DataFrame:
    """A frame whose rows have these real accuracies, seed by seed, and half of them as proxy accuracies."""
    lines = []
    for key, values in accuracies.items():
        for seed, value in enumerate(values):
            line = dict.fromkeys(COLUMNS, 0.0) | {"policy": BY_KEY[key.strip("_")].label, "pair": "tiny", "seed": seed}
            lines.append({**line, "real_accuracy": value, "proxy_accuracy": value / 2, "diverged": False})
    return pd.DataFrame(lines)


def test_the_rows_are_the_papers_with_its_figures() -> None:
    assert [row.key for row in ROWS] == [*"12345678", "csg", "9", "random", "init"]
    assert {row.key: row.published for row in ROWS} == {
        "1": (28.2, 0.8), "2": (58.7, 76.2), "3": (49.3, 33.1), "4": (60.2, 76.5), "5": (53.3, 77.4),
        "6": (57.1, 77.4), "7": (56.4, 49.1), "8": (57.6, 53.9), "9": (61.5, 76.7), "csg": (64.05, None),
        "random": (None, None), "init": (None, None),
    }  # fmt: skip


def test_what_each_row_runs() -> None:
    policy = RandomRates("stands for a policy")

    def settings(key: str) -> tuple[str, float, float]:
        agent = agent_of(BY_KEY[key], 0.1, WEIGHTS, 0.05, policy)
        assert isinstance(agent, Schedule)
        config = EnvConfig(**agent.config_overrides)
        rates = agent.layer_rates(4)
        assert rates[-1] == 0.1
        return config.guidance, config.guidance_weight if config.guidance != "none" else 0.0, rates[0]

    small = pytest.approx(0.003)
    assert settings("1") == ("none", 0.0, 0.1)
    assert settings("2") == ("kl", 0.3, 0.1)
    assert settings("3") == ("none", 0.0, small)
    assert settings("4") == ("kl", 0.3, small)
    assert settings("5") == ("none", 0.0, 0.0)
    for key, guidance in (("6", "feature"), ("7", "l2sp"), ("8", "si"), ("csg", "csg")):
        assert settings(key) == (guidance, WEIGHTS[guidance], small)  # type: ignore[index]
    assert agent_of(BY_KEY["9"], 0.1, WEIGHTS, 0.05, policy) is policy
    assert isinstance(agent_of(BY_KEY["random"], 0.1, WEIGHTS, 0.05, policy), RandomRates)
    assert agent_of(BY_KEY["init"], 0.1, WEIGHTS, 0.05, policy).config_overrides["random_init"]  # type: ignore[attr-defined]


def test_intervals_are_students() -> None:
    mean, half = mean_and_half_width(np.array([1.0, 2.0, 3.0, 4.0]))
    assert mean == 2.5
    assert half == pytest.approx(3.1824463 * 1.2909944 / 2, rel=1e-6)
    assert mean_and_half_width(np.array([1.0])) == (1.0, np.inf)


@pytest.mark.parametrize(
    ("difference", "half", "strict", "expected"),
    [
        (0.2, 0.1, True, "holds"),
        (0.05, 0.1, True, "undecided"),
        (-0.05, 0.1, True, "undecided"),
        (-0.2, 0.1, True, "does not hold"),
        (0.004, 0.013, False, "holds"),
        (-0.006, 0.003, False, "holds"),  # worse, but by less than a point
        (0.004, 0.015, False, "undecided"),
        (-0.05, 0.1, False, "undecided"),
        (-0.02, 0.009, False, "does not hold"),
        (0.2, np.inf, True, "undecided"),
        (0.2, np.inf, False, "undecided"),
    ],
)
def test_verdicts(difference: float, half: float, strict: bool, expected: str) -> None:
    assert verdict(difference, half, strict) == expected


def test_claims_are_checked_on_paired_differences() -> None:
    # The rows spread far more than they differ: only a paired interval can tell.
    spread = np.array([0.1, 0.5, 0.9])
    frame = _frame(
        _1=list(spread), _2=list(spread + np.array([0.05, 0.06, 0.05])), _3=list(spread - 0.02), _4=list(spread - 0.02),
        _9=list(spread - np.array([0.03, 0.02, 0.02])),
    ).sample(frac=1, random_state=0)  # fmt: skip
    found = {finding.claim.text.split(":")[0] + finding.claim.column: finding for finding in check_claims(frame)}
    assert found["1 < 2real_accuracy"].verdict == "holds"
    assert found["1 < 2real_accuracy"].difference == pytest.approx(0.16 / 3)
    assert found["1 < 3real_accuracy"].verdict == "does not hold"
    assert found["3 < 4real_accuracy"].verdict == "undecided"
    assert found["4 <= 9real_accuracy"].verdict == "undecided"
    assert len(found) == 5  # the retentions share a key; rows 5 to 8 are missing
    lines = claim_lines(check_claims(frame))
    assert lines[1] == "1 < 2: guidance helps at a large rate: holds (+5.3 ± 1.4 points of real accuracy)"
    assert lines[-1] == "5 claims could not be checked: rows or accuracies are missing."
    assert len(check_claims(frame[frame["policy"] == BY_KEY["1"].label])) == 0


def test_the_published_figures_hold_what_the_paper_claims() -> None:
    for claim in CLAIMS:
        column = ("real_accuracy", "proxy_accuracy").index(claim.column)
        worse, better = (BY_KEY[key].published[column] for key in (claim.worse, claim.better))
        assert worse is not None and better is not None and better > worse, claim.text


def test_published_figures_stand_beside_ours_only_where_they_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = summarise(_frame(_1=[0.5, 0.7], csg=[0.6, 0.6]))
    headings, rows = cells("tiny", summary)
    assert len(headings) == 6 and rows[0][:4] == ["1", "large rate for all layers", "60.0 ± 127.1", "30.0 ± 63.5"]
    headings, rows = cells("visda17:root=x,label=mine", summary)
    assert headings[6:] == ["published: VisDA-17", "ImageNet"]
    assert [row[6:] for row in rows] == [["28.2", "0.8"], ["64.05", "-"]]


def test_the_command_trains_a_policy_and_leaves_files(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table"
    assert train_policy.main(["table", tiny, *FAST, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "ASG: guidance + learned policy" in printed.out and "4 <= 9" in printed.out
    assert "trained on tiny for 4 episodes" in printed.err
    frame = pd.read_csv(out / "table.csv")
    assert frame["policy"].unique().tolist() == [row.label for row in ROWS]
    assert frame.groupby("policy")["seed"].nunique().eq(3).all()
    by_row = frame.set_index(["policy", "seed"])["real_accuracy"].unstack()
    assert len(by_row.drop_duplicates()) >= 6  # rows are not all the same run
    # A frozen backbone keeps the proxy as it was.
    kept = frame[frame["policy"] == BY_KEY["5"].label]["proxy_accuracy"]
    assert kept.nunique() == 1
    found = json.loads((out / "table.json").read_text())
    assert len(found["claims"]) == len(CLAIMS)
    assert {claim["verdict"] for claim in found["claims"]} <= {"holds", "does not hold", "undecided"}
    assert load(out).episodes == 4  # type: ignore[attr-defined]
    assert (out / "table.md").read_text().count("\n| ") == len(ROWS) + 1


def test_a_policy_of_a_folder_is_run_as_it_was_trained(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = EnvConfig(pairs=(tiny,), action="discrete", base_lr=0.05, device="cpu")
    Reinforce(config, seed=1).save(tmp_path / "policy")
    out = tmp_path / "table"
    arguments = ["table", tiny, *FAST, "--rows", "4", "9", "--policy", str(tmp_path / "policy"), "--out", str(out)]
    assert train_policy.main(arguments) == 0
    frame = pd.read_csv(out / "table.csv")
    assert frame["policy"].unique().tolist() == [BY_KEY["4"].label, BY_KEY["9"].label]
    assert f"{len(CLAIMS) - 2} claims could not be checked" in capsys.readouterr().out


def test_a_row_that_cannot_run_is_told_before_a_policy_is_trained(
    tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(TinyNet, "feature_layer", None)
    assert train_policy.main(["table", tiny, *FAST]) == 2
    error = capsys.readouterr().err
    assert "error: The guidance 'feature' needs the last feature map" in error and "Training" not in error
    assert train_policy.main(["table", tiny, *FAST, "--rows", "2", "random"]) == 0


def test_a_policy_of_another_network_is_told_before_any_row_runs(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = EnvConfig(pairs=(tiny,), device="cpu")
    Reinforce(config, configure("reinforce", {"per_layer_heads": True}), n_layers=9).save(tmp_path)
    assert train_policy.main(["table", tiny, *FAST, "--policy", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "This policy has heads for 9 layer groups" in error and "Rows on" not in error


def test_without_proxy_images_it_says_how_to_give_some(capsys: pytest.CaptureFixture[str]) -> None:
    if "unproven" not in pairs.names():
        pairs.register("unproven", lambda: replace(tiny_pair(name="unproven"), proxy_test=None))
    assert train_policy.main(["table", "unproven", *FAST, "--rows", "1", "2"]) == 0
    assert capsys.readouterr().err.count("proxy_test=FOLDER") == 1


def test_there_is_no_negative_zero() -> None:
    finding = Finding(CLAIMS[0], -0.0001, 0.1, "undecided")
    assert "undecided (+0.0 ± 10.0 points of real accuracy)" in claim_lines([finding])[0]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["tinny"], "Unknown pair 'tinny'"),
        (["tiny", "--rows", "csx"], "Unknown row 'csx'. Did you mean 'csg'?"),
        (["tiny", "--seeds", "0"], "--seeds is 0; expected an integer >= 1"),
        (["tiny", "--lr", "0"], "--lr is 0.0; expected a number > 0"),
        (["tiny", "--policy", "nowhere"], "There is no folder nowhere"),
    ],
)
def test_bad_options_are_one_line(tiny: str, options: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_policy.main(["table", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and told in error


def test_labels_are_different() -> None:
    assert len({row.label for row in ROWS}) == len(ROWS)
    assert Row("7", "x", "kl", "policy").label == "7 x" and Row("csg", "x", "kl", "policy").label == "x"


def test_what_the_accuracy_is_is_said_where_it_is_no_share_of_images(tiny: str) -> None:
    for name, metric in (("tiny-miou", "miou"), ("tiny-mean", "mean_class_accuracy")):
        if name not in pairs.names():
            pairs.register(name, lambda metric=metric: replace(tiny_pair(), metric=metric))
    assert metric_note([tiny]) == ""
    expected = "Real accuracy is the mean intersection over union on tiny-miou, the mean over the classes on tiny-mean."
    assert metric_note(["tiny-miou", tiny, "tiny-mean", "tiny-miou"]) == expected
    summary = summarise(_frame(_1=[0.5, 0.7]).assign(pair="tiny-mean"))
    assert "Real accuracy is the mean over" in str(results_table(summary, "Below.").caption)
    assert results_table(summary.assign(pair=tiny), None).caption is None
    assert "tiny-miou" in str(table("tiny-miou", summary).caption)
    assert "tiny-miou" in str(evaluation_table([["policy"], ["a"]], ["tiny-miou"]).caption)
