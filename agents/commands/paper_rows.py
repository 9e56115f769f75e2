"""The rows of the paper's analysis (Chen et al., ICML 2020), what was published of them, and what it claims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l2o_env.config import GuidanceName
from l2o_env.evaluation.agent import AgentLike
from l2o_env.evaluation.intervals import mean_and_half_width
from l2o_env.optimizers import own_settings
from l2o_env.training.scaled import ScaledPolicy

from ..base import Agent
from ..opponents import RandomRates, Schedule
from ..opponents.profiles import ProfileName

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        key: How claims call it: the paper's number, or a name.
        model: What it is, in words.
        guidance: The guidance term.
        profile: Rates over the layers: a name of ``PROFILES``, ``"policy"`` (the learned one) or ``"random"``
            (drawn anew at each step).
        published: VisDA-17 mean accuracy and ImageNet accuracy kept, in per cent, with ResNet-101; None where the
            papers have none.
        random_init: Whether the backbone is drawn at random too.
    """

    key: str
    model: str
    guidance: GuidanceName
    profile: ProfileName | Literal["policy", "random"]
    published: tuple[float | None, float | None] = (None, None)
    random_init: bool = False

    @property
    def label(self) -> str:
        """As frames call it."""
        return f"{self.key} {self.model}" if self.key.isdigit() else self.model


ROWS = (
    Row("1", "large rate for all layers", "none", "uniform", (28.2, 0.8)),
    Row("2", "large rate for all layers + guidance", "kl", "uniform", (58.7, 76.2)),
    Row("3", "small backbone, large head", "none", "small_backbone", (49.3, 33.1)),
    Row("4", "small backbone, large head + guidance", "kl", "small_backbone", (60.2, 76.5)),
    Row("5", "oracle on the proxy's task (backbone frozen)", "none", "head_only", (53.3, 77.4)),
    Row("6", "feature distillation (ROAD)", "feature", "small_backbone", (57.1, 77.4)),
    Row("7", "L2 distance (L2-SP)", "l2sp", "small_backbone", (56.4, 49.1)),
    Row("8", "synaptic intelligence", "si", "small_backbone", (57.6, 53.9)),
    Row("csg", "CSG", "csg", "small_backbone", (64.05, None)),
    Row("9", "ASG: guidance + learned policy", "kl", "policy", (61.5, 76.7)),
    Row("random", "guidance + random policy", "kl", "random"),
    Row("init", "random backbone, large rate", "none", "uniform", random_init=True),
)
"""All rows, in the order of the table."""
BY_KEY = {row.key: row for row in ROWS}


@dataclass(frozen=True)
class RowAgents:
    """What sets the rates of the rows.

    Attributes:
        rate: The large rate.
        weights: Weight of each guidance term.
        window_share: Length of a window as a share of the budget.
        policy: The learned policy; None if no row needs it.
        factor: What its rates are multiplied by.
    """

    rate: float
    weights: Mapping[GuidanceName, float]
    window_share: float
    policy: Agent | None
    factor: float = 1.0

    @property
    def learned(self) -> AgentLike | None:
        """The learned policy as it is run; None if no row needs it."""
        return self.policy if self.policy is None or self.factor == 1 else ScaledPolicy(self.policy, self.factor)

    def of(self, row: Row) -> AgentLike:
        """What sets the rates of a row."""
        if row.profile == "policy":
            assert self.learned is not None
            return self.learned
        if row.profile == "random":
            return RandomRates(row.label)
        overrides = {**own_settings("sgd"), "guidance": row.guidance, "random_init": row.random_init}  # as in the paper
        if row.guidance in self.weights:
            overrides["guidance_weight"] = self.weights[row.guidance]
        share = self.window_share
        return Schedule(row.label, self.rate, row.profile, window_share=share, config_overrides=overrides)


class Claim(NamedTuple):
    """An ordering that the paper claims: the `better` row is above the `worse` one.

    With `strict` it has to be above; without, it must not be below by more than ``MARGIN``.
    """

    worse: str
    better: str
    column: Literal["real_accuracy", "proxy_accuracy"]
    strict: bool
    text: str


CLAIMS = (
    Claim("1", "3", "real_accuracy", True, "1 < 3: a small rate for the backbone transfers better than a large one"),
    Claim("1", "2", "real_accuracy", True, "1 < 2: guidance helps at a large rate"),
    Claim("3", "4", "real_accuracy", True, "3 < 4: guidance helps at a small rate too"),
    Claim("4", "9", "real_accuracy", False, "4 <= 9: a learned policy is no worse than the best rates by hand"),
    Claim("6", "4", "real_accuracy", True, "6 < 4: guidance transfers better than feature distillation"),
    Claim("7", "4", "real_accuracy", True, "7 < 4: guidance transfers better than the L2 distance"),
    Claim("8", "4", "real_accuracy", True, "8 < 4: guidance transfers better than synaptic intelligence"),
    Claim("5", "9", "real_accuracy", True, "5 < 9: a learned policy transfers better than a frozen backbone"),
    Claim("1", "2", "proxy_accuracy", True, "retention: guidance keeps the proxy accuracy at a large rate"),
    Claim("3", "4", "proxy_accuracy", True, "retention: guidance keeps the proxy accuracy at a small rate"),
    Claim("1", "5", "proxy_accuracy", True, "retention: a large rate loses proxy accuracy"),
    Claim("4", "9", "proxy_accuracy", False, "retention: a learned policy keeps as much as the best rates by hand"),
)
"""What the paper claims of its table."""
MARGIN = 0.01
"""What may be lost where a row must not be worse than another: one point of accuracy."""

Verdict = Literal["holds", "does not hold", "undecided"]


class Finding(NamedTuple):
    """How a claim came out: mean of the paired differences over seeds, and half the width of its 95 % interval.

    For one seed the half-width is NaN.
    """

    claim: Claim
    difference: float
    half_width: float
    verdict: Verdict


def check_claims(frame: pd.DataFrame) -> list[Finding]:
    """Checks each claim whose rows are there, on differences between runs of the same seed.

    A claim holds if the whole interval is above 0 (above -``MARGIN``, if it is not strict), and does not hold if the
    whole interval is below; otherwise it is undecided.

    Args:
        frame: One row per policy and seed, as ``l2o_env.evaluate`` has it, with the labels of the rows.
    """
    findings = []
    for claim in CLAIMS:
        worse, better = (_of(frame, BY_KEY[key].label, claim.column) for key in (claim.worse, claim.better))
        if len(worse) and len(worse) == len(better) and np.isfinite(worse).all() and np.isfinite(better).all():
            difference, half_width = mean_and_half_width(better - worse)
            findings.append(Finding(claim, difference, half_width, verdict(difference, half_width, claim.strict)))
    return findings


def verdict(difference: float, half_width: float, strict: bool) -> Verdict:
    """See :func:`check_claims`; without an interval (one seed) nothing is decided."""
    least = 0.0 if strict else -MARGIN
    if difference - half_width > least:
        return "holds"
    return "does not hold" if difference + half_width < least else "undecided"


def _of(frame: pd.DataFrame, policy: str, column: str) -> NDArray[np.float64]:
    """Values of a row of the table, in the order of the seeds."""
    return frame[frame["policy"] == policy].sort_values("seed")[column].to_numpy(float)
