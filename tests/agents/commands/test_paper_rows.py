"""The rows of the paper's table, and its claims."""

from __future__ import annotations

import numpy as np
import pytest

from agents.commands.paper_rows import BY_KEY, CLAIMS, ROWS, Row, RowAgents, check_claims, verdict
from agents.commands.paper_table import TableArgs
from agents.commands.printed_tables import claim_lines
from agents.opponents import RandomRates, Schedule
from l2o_env.config import EnvConfig
from tests.agents.commands.jobs import rows_frame

WEIGHTS = TableArgs().weights


def test_the_rows_are_the_papers_with_its_figures() -> None:
    assert [row.key for row in ROWS] == [*"12345678", "csg", "9", "random", "init"]
    assert {row.key: row.published for row in ROWS} == {
        "1": (28.2, 0.8), "2": (58.7, 76.2), "3": (49.3, 33.1), "4": (60.2, 76.5), "5": (53.3, 77.4),
        "6": (57.1, 77.4), "7": (56.4, 49.1), "8": (57.6, 53.9), "9": (61.5, 76.7), "csg": (64.05, None),
        "random": (None, None), "init": (None, None),
    }  # fmt: skip


def test_what_each_row_runs() -> None:
    policy = RandomRates("stands for a policy")
    agents = RowAgents(0.1, WEIGHTS, 0.05, policy)

    def settings(key: str) -> tuple[str, float, float]:
        agent = agents.of(BY_KEY[key])
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
    assert agents.of(BY_KEY["9"]) is policy
    assert isinstance(agents.of(BY_KEY["random"]), RandomRates)
    assert agents.of(BY_KEY["init"]).config_overrides["random_init"]  # type: ignore[attr-defined]


def test_labels_are_different() -> None:
    assert len({row.label for row in ROWS}) == len(ROWS)
    assert Row("7", "x", "kl", "policy").label == "7 x" and Row("csg", "x", "kl", "policy").label == "x"


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
        (0.2, np.nan, True, "undecided"),  # one seed
        (-0.2, np.nan, False, "undecided"),
    ],
)
def test_verdicts(difference: float, half: float, strict: bool, expected: str) -> None:
    assert verdict(difference, half, strict) == expected


def test_claims_are_checked_on_paired_differences() -> None:
    # The rows spread far more than they differ: only a paired interval can tell.
    spread = np.array([0.1, 0.5, 0.9])
    frame = rows_frame(
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
