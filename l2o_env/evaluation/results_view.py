"""What tables and pictures read off the tidy table of an evaluation, each number computed once."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from l2o_env.evaluation import aggregate
from l2o_env.evaluation.aggregate import Estimate, Scores
from l2o_env.evaluation.summary import primary, reference_of

METRICS = {
    "real_accuracy": "real accuracy (share)",
    "v_end": "V at the end",
    "v_return": "V-return",
    "proxy_accuracy": "proxy accuracy kept (share)",
}
"""Columns that are scored, with their units."""
COMPARED = ("real_accuracy", "v_end")
"""Those of them by which policies are compared with a reference."""
DRAWN = ("real_accuracy", "v_end", "proxy_accuracy")
"""Those that pictures show. A V-return is V minus that of the start, which adds the luck of the start to it, and is no
match for that of a policy that starts from another network (``random-init``)."""


RESULT_COLUMNS = (
    "policy", "selection", "mode", "pair", "run", "trained_on", "seed", *METRICS, "updates", "wall_time", "diverged"
)  # fmt: skip
"""Columns of the tidy table that are read off."""


class Group(NamedTuple):
    """What is scored as one: a policy, as it was selected and as it acted."""

    policy: str
    selection: str
    mode: str


class ResultsView:
    """The table of an evaluation, by policies, pairs and metrics.

    Args:
        table: The tidy table. What was read off it does not follow later changes.
        reference: What the probability of improvement compares with; see ``summary.reference_of``.
    """

    def __init__(self, table: pd.DataFrame, reference: str | None = None) -> None:
        self.table = table
        self.reference = reference_of(table, reference)
        self.pairs = _distinct(table["pair"])
        self.metrics = {name: MetricView(self, name) for name in METRICS}

    @cached_property
    def groups(self) -> dict[Group, pd.DataFrame]:
        """The rows of each policy, selection and mode."""
        return {Group(*map(str, key)): rows for key, rows in self.table.groupby([*Group._fields], sort=False)}

    @cached_property
    def primary(self) -> pd.DataFrame:
        """The rows to look at first; see ``summary.primary``."""
        return primary(self.table)

    @cached_property
    def primary_groups(self) -> dict[str, Group]:
        """The group of these rows, by policy."""
        keys = self.primary[[*Group._fields]].drop_duplicates().to_numpy()
        return {str(policy): Group(str(policy), str(selection), str(mode)) for policy, selection, mode in keys}

    @cached_property
    def cells(self) -> dict[tuple[str, str], pd.DataFrame]:
        """These rows by policy and pair."""
        grouped = self.primary.groupby(["policy", "pair"], sort=False)
        return {(str(policy), str(pair)): rows for (policy, pair), rows in grouped}

    @cached_property
    def scored(self) -> list[str]:
        """The metrics that there are rows to look at for."""
        return [name for name, metric in self.metrics.items() if len(metric.primary)]

    @cached_property
    def drawn(self) -> list[str]:
        """Those of them that pictures show."""
        return [name for name in self.scored if name in DRAWN]

    def was_trained_on(self, policy: str, pair: str) -> bool:
        """Whether a policy was trained on a pair, or tuned on it."""
        return pair in str(self.cells[policy, pair]["trained_on"].iloc[0]).split("+")


class MetricView:
    """One metric of an evaluation, on the pairs on which everyone has a score.

    Pairs without real images, for example, have no real accuracy. What has no score on any pair is left out.

    Args:
        results: The evaluation.
        name: A name of ``METRICS``.
    """

    def __init__(self, results: ResultsView, name: str) -> None:
        self._results, self.name = results, name

    @cached_property
    def pairs(self) -> list[str]:
        """The pairs on which everyone has a score."""
        known = np.isfinite(self._results.table[self.name]).groupby(self._results.table["pair"], sort=False).all()
        return [str(pair) for pair in known.index[known]]

    def _scored(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Those of some rows that are of these pairs."""
        return rows[rows["pair"].isin(self.pairs)]

    @cached_property
    def primary(self) -> pd.DataFrame:
        """The rows to look at first."""
        return self._scored(self._results.primary)

    @cached_property
    def scores(self) -> dict[Group, Scores]:
        """Scores ``(n_runs, n_pairs)`` of each group."""
        scored = {group: self._scored(rows) for group, rows in self._results.groups.items()}
        return {group: aggregate.score_matrix(rows, self.name) for group, rows in scored.items() if len(rows)}

    @cached_property
    def primary_scores(self) -> dict[str, Scores]:
        """Scores ``(n_runs, n_pairs)`` of the rows to look at first, by policy."""
        groups = self._results.primary_groups.items()
        return {policy: self.scores[group] for policy, group in groups if group in self.scores}

    @cached_property
    def iqm(self) -> dict[Group, Estimate]:
        """Interquartile mean of each group."""
        return {group: aggregate.iqm(scores) for group, scores in self.scores.items()}

    @cached_property
    def means(self) -> dict[tuple[str, str], Estimate]:
        """Mean of each policy on each pair, of the rows to look at first."""
        return {
            (policy, pair): aggregate.mean(aggregate.score_matrix(rows, self.name))
            for (policy, pair), rows in self._results.cells.items()
            if pair in self.pairs
        }

    @cached_property
    def improvement(self) -> dict[Group, Estimate]:
        """Probability that each group is better than the reference on a pair that both have scores on.

        Empty if there is no reference, or none of its rows is to be looked at first.
        """
        reference = self._results.primary_groups.get(self._results.reference or "")
        if reference is None:
            return {}
        theirs = self._scored(self._results.groups[reference])
        estimates = {}
        for group, rows in self._results.groups.items():
            common = [pair for pair in _distinct(self._scored(rows)["pair"]) if pair in set(theirs["pair"])]
            if common:
                x, y = (aggregate.score_matrix(frame, self.name, common) for frame in (rows, theirs))
                estimates[group] = aggregate.probability_of_improvement(x, y)
        return estimates

    @cached_property
    def primary_improvement(self) -> dict[str, Estimate]:
        """The same of each policy but the reference, of the rows to look at first."""
        groups = self._results.primary_groups.items()
        return {
            policy: self.improvement[group]
            for policy, group in groups
            if policy != self._results.reference and group in self.improvement
        }


def _distinct(names: pd.Series) -> list[str]:
    """Names in the order of their first row."""
    return [str(name) for name in dict.fromkeys(names)]
