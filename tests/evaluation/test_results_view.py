"""What tables and pictures read off: the numbers are those of the table, and computed once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from l2o_env.evaluation import aggregate
from l2o_env.evaluation.results_view import METRICS, Group, ResultsView
from tests.evaluation.hand_made import results_table, results_view

LAST, SELECTED = Group("ours", "last", "deterministic"), Group("ours", "source", "deterministic")
THEIRS, UNIFORM = Group("theirs", "last", "deterministic"), Group("uniform", "fixed", "deterministic")


def _rows(group: Group, pairs: tuple[str, ...] = ("a", "b")) -> pd.DataFrame:
    table = results_table()
    mine = (table["policy"] == group.policy) & (table["selection"] == group.selection)
    return table[mine & table["pair"].isin(pairs)]


def test_groups_are_scored_on_the_pairs_on_which_everyone_has_a_score() -> None:
    view = results_view()
    assert list(view.groups) == [LAST, SELECTED, THEIRS, UNIFORM]
    assert view.pairs == ["a", "b", "no-target"] == view.metrics["v_return"].pairs
    real = view.metrics["real_accuracy"]
    assert real.pairs == ["a", "b"]
    np.testing.assert_allclose(real.scores[THEIRS], [[0.45 + 0.01 * s, 0.55 + 0.01 * s] for s in range(4)])
    assert real.iqm[THEIRS] == aggregate.iqm(aggregate.score_matrix(_rows(THEIRS), "real_accuracy"))
    unknown = ResultsView(results_table().assign(real_accuracy=np.nan))
    assert unknown.metrics["real_accuracy"].scores == {} == unknown.metrics["real_accuracy"].iqm
    assert unknown.scored == ["v_end", "v_return", "proxy_accuracy"]
    assert unknown.drawn == ["v_end", "proxy_accuracy"]
    lacking = results_table()  # one run without a score is enough
    lacking.loc[0, "real_accuracy"] = np.nan
    assert ResultsView(lacking).metrics["real_accuracy"].pairs == ["b"]


def test_the_rows_to_look_at_first_by_policy_and_by_pair() -> None:
    view = results_view()
    assert view.primary_groups == {"ours": SELECTED, "theirs": THEIRS, "uniform": UNIFORM}
    assert list(view.cells) == [(p, q) for p in ("ours", "theirs", "uniform") for q in ("a", "b", "no-target")]
    assert set(view.cells["ours", "a"]["selection"]) == {"source"}
    real = view.metrics["real_accuracy"]
    assert list(real.means) == [(p, q) for p in ("ours", "theirs", "uniform") for q in ("a", "b")]
    expected = aggregate.mean(aggregate.score_matrix(_rows(UNIFORM, ("b",)), "real_accuracy"))
    assert real.means["uniform", "b"] == expected
    assert list(real.primary_scores) == ["ours", "theirs", "uniform"]
    np.testing.assert_array_equal(real.primary_scores["ours"], real.scores[SELECTED])
    assert [view.was_trained_on("ours", pair) for pair in ("a", "b")] == [True, False]
    assert view.was_trained_on("theirs", "b") and not view.was_trained_on("uniform", "a")


def test_improvement_is_over_the_reference_on_pairs_that_both_have() -> None:
    view = results_view()
    assert view.reference == "uniform"
    real = view.metrics["real_accuracy"]
    assert {group: float(found.value) for group, found in real.improvement.items()} == {
        LAST: 1.0, SELECTED: 1.0, THEIRS: 1.0, UNIFORM: 0.5
    }  # fmt: skip
    assert list(real.primary_improvement) == ["ours", "theirs"]
    against = ResultsView(results_table(), "ours").metrics["real_accuracy"]
    assert list(against.primary_improvement) == ["theirs", "uniform"]
    assert against.primary_improvement["theirs"].value == 0.0  # the reference's selected checkpoint
    table = results_table()
    elsewhere = table[(table["policy"] != "theirs") | (table["pair"] == "b")]
    partly = ResultsView(elsewhere).metrics["real_accuracy"].improvement[THEIRS]
    x, y = (aggregate.score_matrix(_rows(group, ("b",)), "real_accuracy") for group in (THEIRS, UNIFORM))
    assert partly == aggregate.probability_of_improvement(x, y)
    apart = table[(table["policy"] != "theirs") | (table["pair"] == "b")]
    apart = apart[(apart["policy"] != "uniform") | (apart["pair"] == "a")]
    assert THEIRS not in ResultsView(apart).metrics["real_accuracy"].improvement


def test_without_a_reference_nothing_is_compared() -> None:
    learned = results_table().query("policy != 'uniform'")
    assert ResultsView(learned).reference is None
    assert ResultsView(learned).metrics["real_accuracy"].improvement == {}
    sampled = learned.assign(mode="sampled")  # nothing to look at first
    assert ResultsView(sampled, "ours").metrics["real_accuracy"].improvement == {}
    assert ResultsView(sampled).scored == []


def test_each_number_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("iqm", "mean", "probability_of_improvement"):
        real = getattr(aggregate, name)

        def counting(*args: Any, name: str = name, real: Any = real) -> Any:
            calls.append(name)
            return real(*args)

        monkeypatch.setattr(aggregate, name, counting)
    view = results_view()
    for _ in range(2):
        for metric in view.metrics.values():
            assert metric.iqm and metric.means and metric.improvement
    groups, cells = 4, 3 * (2 + 3 + 3 + 3)
    assert [calls.count(name) for name in ("iqm", "mean", "probability_of_improvement")] == [
        len(METRICS) * groups, cells, len(METRICS) * groups
    ]  # fmt: skip
