"""``l2o table --adaptation``: methods from initialisations, on the same seeds."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import train_policy
from agents.commands.adaptation_table import cells
from agents.factory import load
from l2o_env import pairs
from tests.tiny import tiny_pair

FAST = ["--adaptation", "--seeds", "3", "--budget", "4", "--window", "2", "--episodes", "4", "--device", "cpu"]
FAST += ["--hp", "rounds=2", "--hp", "updates=2", "--hp", "batch_size=8"]


def test_methods_start_from_the_same_networks(tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "table"
    arguments = ["table", tiny, *FAST, "--methods", "source_only", "cbst", "mrkld", "--out", str(out)]
    assert train_policy.main(arguments) == 0
    printed = capsys.readouterr()
    assert "target oracle (reads labels)" in printed.out
    assert "ASG + mrkld > mrkld from the source model" in printed.out
    assert "trained on tiny for 4 episodes" in printed.err
    frame = pd.read_csv(out / "adaptation.csv")
    assert len(frame) == 3 * 4 * 3
    assert frame.groupby(["start", "seed"])["before"].nunique().eq(1).all()
    assert (frame["target_oracle"] >= frame[["last", "information_maximisation"]].max(axis=1)).all()
    assert len(json.loads((out / "adaptation.json").read_text())["claims"]) == 4
    assert load(out).episodes == 4  # type: ignore[attr-defined]
    assert (out / "adaptation.md").read_text().count("\n| ") == 1 + 4 * (1 + 3)
    written = (out / "adaptation.csv").read_bytes()
    assert train_policy.main(arguments) == 0  # all is kept
    assert "Training the policy" not in capsys.readouterr().err
    assert (out / "adaptation.csv").read_bytes() == written


def test_learned_rates_drive_what_updates_the_whole_network(tiny: str, tmp_path: Path) -> None:
    out = tmp_path / "table"
    arguments = ["--methods", "cbst", "mcd", "--starts", "asg", "--learned", "--out", str(out)]
    assert train_policy.main(["table", tiny, *FAST, *arguments]) == 0
    frame = pd.read_csv(out / "adaptation.csv")
    assert frame["method"].unique().tolist() == ["cbst", "mcd", "cbst, learned rates"]


def test_published_figures_stand_beside_visda17() -> None:
    line = {"method": "cbst", "start": "asg", "seed": 0, "before": 0.6, "diverged": False}
    frame = pd.DataFrame([{**line, "last": 0.8, "information_maximisation": 0.8, "target_oracle": 0.8}])
    headings, rows = cells("visda17:root=x", frame)
    assert headings[-1] == "published: VisDA-17"
    assert [row[-1] for row in rows] == ["61.5", "82.5"]
    assert "published: VisDA-17" not in cells("tiny", frame)[0]


def test_what_cannot_work_is_told_before_a_policy_is_trained(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--methods", "cbts"], "Unknown method 'cbts'. Did you mean 'cbst'?"),
        (["--starts", "imagenet"], "Unknown initialisation 'imagenet'"),
        (["--methods", "adabn"], "TinyNet has none"),
        (["--hp", "portion=2"], "portion is 2.0; expected a share in (0, 1]"),
    ):
        assert train_policy.main(["table", tiny, *FAST, *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "Training the policy" not in error


def test_a_pair_without_target_images_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import replace

    if "tiny-targetless" not in pairs.names():
        pairs.register("tiny-targetless", lambda: replace(tiny_pair(name="tiny-targetless"), target=None))
    assert train_policy.main(["table", "tiny-targetless", *FAST]) == 2
    assert "Pair 'tiny-targetless' has no labelled target images" in capsys.readouterr().err
