"""``l2o table``: its rows are run, its text and files are written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import train_policy
from agents.algorithms.registry import configure
from agents.commands import paper_table
from agents.commands.paper_rows import BY_KEY, CLAIMS, ROWS
from agents.commands.table_opponents import USUAL
from agents.factory import load
from agents.reinforce.agent import Reinforce
from l2o_env import pairs
from l2o_env.config import EnvConfig
from l2o_env.evaluation.agent import AgentLike
from tests.image_trees import class_folders, save_weights
from tests.tiny import TinyNet, tiny_pair

FAST = ["--seeds", "3", "--budget", "4", "--window", "2", "--episodes", "4", "--device", "cpu"]


def test_the_command_trains_a_policy_and_leaves_files(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table"
    assert train_policy.main(["table", tiny, *FAST, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "ASG: guidance + learned policy" in printed.out and "4 <= 9" in printed.out
    assert "trained on tiny for 4 episodes" in printed.err
    frame = pd.read_csv(out / "table.csv")
    assert frame["policy"].unique().tolist() == [*(row.label for row in ROWS), *USUAL]
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
    text = (out / "table.md").read_text()
    assert text.count("\n| ") == len(ROWS) + len(USUAL) + 1
    assert "\n|  | adamw-cosine | " in text


def test_opponents_are_tuned_on_the_very_pair_and_kept(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table"
    asked = ["table", tiny, *FAST, "--rows", "4", "--opponents", "adamw-cosine", "random", "--tuning-episodes", "8"]
    assert train_policy.main([*asked, "--out", str(out)]) == 0
    frame = pd.read_csv(out / "table.csv")
    assert frame["policy"].unique().tolist() == [BY_KEY["4"].label, "adamw-cosine", "random", "tuned-adamw-cosine"]
    assert len(list(out.glob("tuned/*/adamw-cosine/tuned-adamw-cosine/schedule.json"))) == 1
    by_policy = frame.groupby("policy")["v_end"].mean()
    assert by_policy["tuned-adamw-cosine"] != by_policy["adamw-cosine"]
    capsys.readouterr()
    assert train_policy.main(asked) == 2
    assert "--tuning-episodes needs --out DIR" in capsys.readouterr().err
    assert train_policy.main(["table", tiny, *FAST, "--rows", "4", "--opponents", "adam"]) == 2
    assert "Unknown opponent 'adam'" in capsys.readouterr().err
    monkeypatch.setattr(paper_table, "measure", None)  # told before anything is run
    assert train_policy.main([*asked, "--out", str(tmp_path / "b"), "--tuned", "prodigi"]) == 2
    assert "Did you mean 'prodigy'" in capsys.readouterr().err


def test_a_table_that_was_cut_off_goes_on(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["table", tiny, *FAST, "--rows", "2", "9", "random", "--out"]
    assert train_policy.main([*arguments, str(tmp_path / "whole")]) == 0
    rows = paper_table.evaluate
    made: list[str] = []

    def cut_off(agents: dict[str, AgentLike], *args: Any, **kwargs: Any) -> pd.DataFrame:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.extend(agents)
        return rows(agents, *args, **kwargs)

    monkeypatch.setattr(paper_table, "evaluate", cut_off)
    assert train_policy.main([*arguments, str(tmp_path / "cut")]) == 130
    monkeypatch.setattr(
        paper_table, "evaluate", lambda agents, *args, **kw: made.extend(agents) or rows(agents, *args, **kw)
    )
    capsys.readouterr()
    assert train_policy.main([*arguments, str(tmp_path / "cut")]) == 0
    assert "Training the policy" not in capsys.readouterr().err
    assert made == [BY_KEY[key].label for key in ("2", "9", "random")]  # each once
    assert (tmp_path / "cut" / "table.csv").read_bytes() == (tmp_path / "whole" / "table.csv").read_bytes()
    assert train_policy.main([*arguments, str(tmp_path / "cut"), "--seed", "1"]) == 2
    assert "results of another command" in capsys.readouterr().err


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


def test_a_policy_that_comes_along_is_named(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_policy.main(["table", tiny, *FAST, "--rows", "9", "--policy", "default"]) == 0
    assert "The policy is that of default, trained on" in capsys.readouterr().err


def test_on_image_files_none_is_trained_unless_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = class_folders(tmp_path / "source", n=4)
    weights = save_weights(tmp_path / "weights.pt")
    pair = pairs.spec(
        "folders", source=source, target=source, weights=weights, size=12, n_validation=2,
        backbone="tests.image_trees:MicroNet",
    )  # fmt: skip
    short = ["table", pair, "--seeds", "1", "--budget", "2", "--window", "1", "--rows", "9", "--device", "cpu"]
    short += ["--env", "batch_size=2"]
    moved = {}
    for name, policy in (("scaled", []), ("as it is", ["--policy", "default"])):
        assert train_policy.main([*short, *policy, "--out", str(tmp_path / name)]) == 0
        told = capsys.readouterr().err
        assert "The policy is that of default" in told
        assert ("its rates times 0.1" in told) == (name == "scaled")
        moved[name] = pd.read_csv(tmp_path / name / "table.csv")["v_return"].abs().item()
    assert moved["scaled"] < 0.5 * moved["as it is"]
    assert train_policy.main([*short, "--episodes", "2"]) == 0
    assert "for 2 episodes" in capsys.readouterr().err


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
    Reinforce(config, config=configure("reinforce", {"per_layer_heads": True}), n_layers=9).save(tmp_path)
    assert train_policy.main(["table", tiny, *FAST, "--policy", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "This policy has heads for 9 layer groups" in error and "Rows on" not in error


def test_without_proxy_images_it_says_how_to_give_some(capsys: pytest.CaptureFixture[str]) -> None:
    if "unproven" not in pairs.names():
        pairs.register("unproven", lambda: replace(tiny_pair(name="unproven"), proxy_test=None))
    assert train_policy.main(["table", "unproven", *FAST, "--rows", "1", "2"]) == 0
    assert capsys.readouterr().err.count("proxy_test=FOLDER") == 1


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
