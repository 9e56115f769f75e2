"""What the slides claim of adaptation from ASG, on made-up accuracies."""

from __future__ import annotations

import pandas as pd
import pytest

from agents.commands.adaptation_rows import CLAIMS, check_claims


def _frame(cbst_from_asg: list[float]) -> pd.DataFrame:
    lines = []
    for seed, last in enumerate(cbst_from_asg):
        lines.append({"method": "cbst", "start": "proxy", "seed": seed, "before": 0.4, "last": 0.5})
        lines.append({"method": "cbst", "start": "asg", "seed": seed, "before": 0.6, "last": last})
    return pd.DataFrame(lines)


def test_claims_are_checked_on_differences_of_the_same_seed() -> None:
    source, alone = check_claims(_frame([0.7, 0.72, 0.71]))
    assert source.claim.text == "ASG + cbst > cbst from the source model"
    assert (source.verdict, alone.verdict) == ("holds", "holds")
    assert source.difference == pytest.approx(0.21)
    assert alone.difference == pytest.approx(0.11)
    assert [finding.verdict for finding in check_claims(_frame([0.3, 0.31, 0.32]))] == ["does not hold"] * 2
    assert [finding.verdict for finding in check_claims(_frame([0.3, 0.9, 0.5]))] == ["undecided"] * 2


def test_there_is_a_claim_of_each_method_of_self_training() -> None:
    assert len(CLAIMS) == 6
    assert check_claims(_frame([0.7]).query("start == 'proxy'")) == []
