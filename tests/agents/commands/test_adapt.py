"""``l2o adapt``: the run folder, resuming, initialisations, and what cannot work."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train_policy
from agents.commands import adapt
from agents.reinforce.agent import Reinforce
from l2o_env.config import EnvConfig

FAST = ["--rounds", "3", "--updates", "2", "--hp", "batch_size=8", "--budget", "30", "--device", "cpu"]


def _adapt(*arguments: str) -> int:
    return train_policy.main(["adapt", *arguments])


def test_the_folder_holds_rounds_weights_events_and_a_page(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert _adapt(tiny, *FAST, "--hp", "portion=0.5", "--out", str(out)) == 0
    printed = capsys.readouterr()
    assert "target-oracle (reads labels of the target): round" in printed.out
    frame = pd.read_csv(out / "rounds.csv")
    assert frame["round"].tolist() == [0, 1, 2, 3]
    assert frame["labelled"].iloc[1:].between(0.01, 1).all() and pd.isna(frame["labelled"][0])
    assert {path.name for path in out.glob("adapted-*")} == {
        "adapted-last.safetensors", "adapted-information-maximisation.safetensors", "adapted-target-oracle.safetensors",
    }  # fmt: skip
    events = EventAccumulator(str(out / "events" / "adaptation"))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert {"pseudo/labelled", "pseudo/balance", "pseudo/share/0", "oracle/pseudo_accuracy", "loss/ce"} <= set(tags)
    assert len(events.Scalars("oracle/real_accuracy")) == 4
    page = (out / "report.html").read_text()
    assert "Examples of pseudo labels" in page and "never sees" in page
    assert json.loads((out / "config.json").read_text())["settings"]["portion"] == 0.5


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [tiny, *FAST, "--method", "mcd"]
    assert _adapt(*arguments, "--out", str(tmp_path / "whole")) == 0
    rounds = 0
    run_round = adapt.Adaptation.run_round

    def cut_off(run: adapt.Adaptation) -> adapt.Round:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            raise KeyboardInterrupt
        return run_round(run)

    with monkeypatch.context() as patch:
        patch.setattr(adapt.Adaptation, "run_round", cut_off)
        assert _adapt(*arguments, "--out", str(tmp_path / "cut")) == 130
    assert f"l2o adapt --resume {tmp_path / 'cut'}" in capsys.readouterr().err
    assert _adapt("--resume", str(tmp_path / "cut")) == 0
    for name in (
        "adapted-last.safetensors",
        "adapted-target-oracle.safetensors",
        "checkpoint.safetensors",
        "rounds.csv",
    ):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_to_go_on_runs_no_code_that_the_folder_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"pair": "folders:source=a,target=b,backbone=os:abort"}))
    assert _adapt("--resume", str(tmp_path)) == 2
    assert "which may run code" in capsys.readouterr().err


def test_adapted_weights_and_policies_are_initialisations(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "first"
    assert _adapt(tiny, *FAST, "--method", "source_only", "--init", "guided", "--out", str(out)) == 0
    reached = pd.read_csv(out / "rounds.csv")["real_accuracy"].iloc[-1]
    file = out / "adapted-last.safetensors"
    assert _adapt(tiny, *FAST, "--init", str(file), "--out", str(tmp_path / "second")) == 0
    assert pd.read_csv(tmp_path / "second" / "rounds.csv")["real_accuracy"][0] == reached
    Reinforce(EnvConfig(pairs=(tiny,), device="cpu"), seed=1).save(tmp_path / "policy")
    assert _adapt(tiny, *FAST, "--init", str(tmp_path / "policy"), "--out", str(tmp_path / "asg")) == 0
    assert "learned rates" in json.loads((tmp_path / "asg" / "config.json").read_text())["initialisation"]


def test_a_policy_sets_the_rates_of_the_adaptation(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = EnvConfig(pairs=(tiny,), device="cpu", optimizer="sgd")
    Reinforce(config, seed=1).save(tmp_path / "sgd")
    Reinforce(EnvConfig(pairs=(tiny,), device="cpu"), seed=1).save(tmp_path / "adamw")
    runs = {"plain": [], "driven": ["--policy", str(tmp_path / "sgd")]}
    for name, options in runs.items():
        assert _adapt(tiny, *FAST, *options, "--method", "mrkld", "--out", str(tmp_path / name)) == 0
    first, second = (pd.read_csv(tmp_path / name / "rounds.csv") for name in runs)
    assert first["loss/ce"][1] != second["loss/ce"][1]
    assert first["real_accuracy"][0] == second["real_accuracy"][0]
    capsys.readouterr()
    for options, message in (
        (["--policy", str(tmp_path / "adamw")], "trained with the optimizer 'adamw'"),
        (["--policy", str(tmp_path / "sgd"), "--method", "mcd"], "'mcd' does not update body and head together"),
    ):
        assert _adapt(tiny, *FAST, *options, "--out", str(tmp_path / "new")) == 2
        assert message in capsys.readouterr().err
    assert _adapt("--resume", str(tmp_path / "driven")) == 2
    assert "cannot go on where it was cut off" in capsys.readouterr().err


def test_a_class_without_labels_is_told_and_it_goes_on(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _adapt(tiny, *FAST, "--hp", "portion=0.03", "--hp", "portion_step=0", "--out", str(tmp_path / "run")) == 0
    assert "no image is labelled as" in capsys.readouterr().err


def test_segmentation_has_a_page_too(tmp_path: Path) -> None:
    arguments = ["--rounds", "1", "--updates", "1", "--budget", "15", "--device", "cpu", "--method", "mrkld+lrent"]
    assert _adapt("glyphs-digits-seg", *arguments, "--out", str(tmp_path / "run")) == 0
    assert (tmp_path / "run" / "pseudo_labels.png").stat().st_size > 1000
    assert pd.read_csv(tmp_path / "run" / "rounds.csv")["labelled"][1] > 0


def test_what_cannot_work_is_told(tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.tiny import register_tiny_deep

    deep = register_tiny_deep()
    assert _adapt(deep, *FAST, "--method", "source_only", "--out", str(tmp_path / "deep")) == 0
    capsys.readouterr()
    other = str(tmp_path / "deep" / "adapted-last.safetensors")
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ([tiny, "--method", "cbts"], "Unknown method 'cbts'. Did you mean 'cbst'?"),
        ([tiny, "--hp", "portion=0"], "portion is 0.0; expected a share in (0, 1]"),
        ([tiny, "--hp", "portoin=0.3"], "Did you mean 'portion'?"),
        ([tiny, "--method", "adabn"], "TinyNet has none"),
        ([tiny, "--init", other], "weights of another network"),
        ([tiny, "--init", "imagenet"], "'imagenet' is no initialisation (proxy, small, guided, asg)"),
        ([tiny, "--rounds", "0"], "rounds is 0"),
        (["--resume", str(tmp_path / "empty")], "is no run of l2o adapt"),
    ):
        assert _adapt(*arguments, "--out", str(tmp_path / "new"), "--device", "cpu") == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "new").exists()
