"""Method x initialisation: what was published on VisDA-17, and what the slides of ASG claim of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l2o_env.evaluation.intervals import mean_and_half_width

from .paper_rows import Verdict, verdict

if TYPE_CHECKING:
    import pandas as pd

SLIDES = ("source_only", "mcd", "adr", "simnet", "gta", "cbst", "mrkld", "mrkld+lrent")
"""Methods of the slides' second table."""
SELF_TRAINING = ("cbst", "mrkld", "mrkld+lrent")
"""Those that it has from ASG too."""
PUBLISHED: dict[tuple[str, str], str] = {
    ("start", "proxy"): "52.4",
    ("start", "asg"): "61.5",
    ("mcd", "proxy"): "71.9",
    ("adr", "proxy"): "74.8",
    ("simnet", "proxy"): "72.9 (ResNet-152)",
    ("gta", "proxy"): "77.1 (ResNet-152)",
    ("cbst", "proxy"): "76.4",
    ("mrkld", "proxy"): "77.9",
    ("lrent", "proxy"): "76.6",
    ("mrkld+lrent", "proxy"): "78.1",
    ("cbst", "asg"): "82.5",
    ("mrkld", "asg"): "84.6",
    ("mrkld+lrent", "asg"): "84.5",
    ("dann", "proxy"): "57.4",
    ("cdan", "proxy"): "80.1",
    ("mdd", "proxy"): "82.0",
    ("mcc", "proxy"): "83.6",
    ("shot", "proxy"): "82.9",
}
"""Mean accuracy of the classes in per cent, ResNet-101 but for two. How the weights were selected differs: most of the
printed figures are of the epoch that is best on the labelled target."""
SELECTIONS = {
    "last": "last round",
    "information_maximisation": "information maximisation",
    "target_oracle": "target oracle (reads labels)",
}
"""Columns of accuracy, by how the round is chosen."""


class AdaptationClaim(NamedTuple):
    """An ordering, checked on runs of the same seed: the `better` (method, initialisation) is above the `worse` one."""

    worse: tuple[str, str]
    better: tuple[str, str]
    text: str


CLAIMS = (
    *(AdaptationClaim((x, "proxy"), (x, "asg"), f"ASG + {x} > {x} from the source model") for x in SELF_TRAINING),
    *(AdaptationClaim(("start", "asg"), (x, "asg"), f"ASG + {x} > ASG alone") for x in SELF_TRAINING),
)
"""What the slides claim."""


class AdaptationFinding(NamedTuple):
    """How a claim came out: mean of the paired differences, and half the width of its 95 % interval."""

    claim: AdaptationClaim
    difference: float
    half_width: float
    verdict: Verdict


def check_claims(frame: pd.DataFrame) -> list[AdaptationFinding]:
    """Checks each claim whose rows are there, on the accuracy of the last round.

    Args:
        frame: One line per method, initialisation and seed, with columns ``method``, ``start``, ``seed``, ``before``
            (accuracy of the initialisation) and those of ``SELECTIONS``.
    """
    findings = []
    for claim in CLAIMS:
        worse, better = (_of(frame, *key) for key in (claim.worse, claim.better))
        if len(worse) and len(worse) == len(better):
            difference, half_width = mean_and_half_width(better - worse)
            findings.append(AdaptationFinding(claim, difference, half_width, verdict(difference, half_width, True)))
    return findings


def _of(frame: pd.DataFrame, method: str, start: str) -> NDArray[np.float64]:
    """Accuracies in the order of the seeds; those of the initialisation alone are in the lines of any method."""
    chosen = frame[frame["start"] == start]
    if method == "start":
        return chosen.drop_duplicates("seed").sort_values("seed")["before"].to_numpy(float)
    return chosen[chosen["method"] == method].sort_values("seed")["last"].to_numpy(float)
