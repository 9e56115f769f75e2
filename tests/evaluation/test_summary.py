"""The tidy table: its order, its selections, the rows to look at first."""

from __future__ import annotations

import pandas as pd

from l2o_env.evaluation.summary import TIDY_COLUMNS, primary, reference_of, target_oracle, tidy


def test_the_target_oracle_takes_the_better_checkpoint_on_each_pair() -> None:
    rows = [
        {"policy": "p", "run": "r", "checkpoint": "", "mode": "deterministic", "pair": pair, "selection": selection,
         "seed": s, "real_accuracy": accuracy + s / 100}
        for pair, selection, accuracy in (
            ("a", "last", 0.5), ("a", "source", 0.4), ("b", "last", 0.1), ("b", "source", 0.6)
        )
        for s in (0, 1)
    ]  # fmt: skip
    early = [{**row, "selection": "checkpoint", "checkpoint": "16"} for row in rows if row["selection"] == "last"]
    early += [{**row, "checkpoint": "32", "real_accuracy": 0.55} for row in early if row["pair"] == "a"]
    frame = pd.DataFrame([*rows, {**rows[0], "policy": "single"}, {**rows[0], "policy": "hand", "selection": "fixed"}])
    oracle = target_oracle(frame)
    assert set(oracle["selection"]) == {"target-oracle"}
    assert oracle[["policy", "pair", "real_accuracy"]].to_numpy().tolist() == [
        ["p", "a", 0.5], ["p", "a", 0.51], ["p", "b", 0.6], ["p", "b", 0.61]
    ]  # fmt: skip
    among_all = target_oracle(pd.concat([frame, pd.DataFrame(early)]))
    assert among_all["real_accuracy"].tolist() == [0.55, 0.55, 0.6, 0.61]
    assert among_all["checkpoint"].tolist() == ["32", "32", "", ""]
    shown = primary(pd.concat([frame, oracle]))
    assert set(zip(shown["policy"], shown["selection"], strict=True)) == {
        ("p", "source"), ("single", "last"), ("hand", "fixed")
    }  # fmt: skip


def test_the_table_is_ordered_by_policies_and_selections() -> None:
    blank = dict.fromkeys(TIDY_COLUMNS, 0) | {"real_accuracy_class_10": 0.0, "real_accuracy_class_2": 0.0, "more": 0}
    kinds = (("b", "last"), ("a", "fixed"), ("b", "target-oracle"), ("b", "source"))
    table = tidy(pd.DataFrame([{**blank, "policy": p, "selection": s, "seed": k} for p, s in kinds for k in (2, 1)]))
    assert table[["policy", "selection", "seed"]].to_numpy().tolist() == [
        ["b", "last", 2], ["b", "last", 1], ["b", "source", 2], ["b", "source", 1], ["b", "target-oracle", 2],
        ["b", "target-oracle", 1], ["a", "fixed", 2], ["a", "fixed", 1],
    ]  # fmt: skip
    assert tuple(table.columns) == (*TIDY_COLUMNS, "real_accuracy_class_2", "real_accuracy_class_10")


def test_the_reference_is_who_is_named_or_an_opponent() -> None:
    table = pd.DataFrame({"policy": ["p", "tuned", "hand"], "selection": ["last", "tuned", "fixed"]})
    assert reference_of(table) == "tuned"
    assert reference_of(pd.concat([table, table.assign(policy=["q", "x", "uniform"])])) == "uniform"
    assert reference_of(table, "p") == "p"
    assert reference_of(table.iloc[:1]) is None
