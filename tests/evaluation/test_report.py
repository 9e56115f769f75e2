"""What an evaluation says in words and pictures, on hand-made tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from l2o_env.evaluation.evaluate import CLASS_COLUMN
from l2o_env.evaluation.report import each_class, each_pair, markdown_table, overall, to_markdown, write_pictures
from l2o_env.evaluation.results_view import METRICS, ResultsView
from l2o_env.results.event_log import TensorBoardLog
from tests.evaluation.hand_made import results_view

CLASSES = {"digits": ("0", "1"), "folders:source=a,label=pets": ("cat", "dog", "cow"), "more": ("0", "1")}


def _results() -> pd.DataFrame:
    """A policy and an opponent on three pairs; class k of the p-th pair is right in 0.1 p + 0.2 k of its images."""
    rows: list[dict[str, Any]] = []
    for policy, selection in (("ours", "last"), ("uniform", "fixed")):
        for p, (pair, classes) in enumerate(CLASSES.items()):
            for seed in range(2):
                shares = {CLASS_COLUMN.format(k): 0.1 * p + 0.2 * k for k in range(len(classes))}
                rows.append(
                    {
                        "policy": policy, "run": policy, "trained_on": "digits", "selection": selection,
                        "mode": "deterministic", "pair": pair, "seed": seed, "diverged": False, "real_accuracy": 0.5,
                        "v_end": -1.0, "v_return": 1.0, "proxy_accuracy": np.nan, "updates": 300, "wall_time": 1.0,
                        **shares,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def test_classes_of_one_name_are_averaged_and_no_others() -> None:
    digits, pets = each_class(ResultsView(_results()), CLASSES)
    assert digits == [["policy", "0", "1"], ["ours", "0.10", "0.30"], ["uniform", "0.10", "0.30"]]
    assert pets == [
        ["policy", "cat", "dog", "cow"],
        ["ours", "0.10", "0.30", "0.50"],
        ["uniform", "0.10", "0.30", "0.50"],
    ]
    unseen = _results().drop(columns=[CLASS_COLUMN.format(k) for k in range(3)])
    assert each_class(ResultsView(unseen), {"digits": ("0", "1")})[0][1] == ["ours", "–", "–"]


def test_pairs_are_called_by_their_labels() -> None:
    lines = each_pair(ResultsView(_results()))
    assert [line[0] for line in lines[1:]] == ["digits", "digits", "pets", "pets", "more", "more"]
    assert [line[2] for line in lines[1:3]] == ["yes", "yes"]
    text = to_markdown(ResultsView(_results()), CLASSES)
    assert "folders:source" not in text
    assert "| policy  | cat  | dog  | cow  |" in text
    assert "each class" not in to_markdown(ResultsView(_results()))


def test_over_all_pairs_with_and_without_a_reference() -> None:
    lines = overall(ResultsView(_results()))
    assert lines[0][4:] == [*METRICS.values(), "P(better than uniform)", "updates", "s per episode", "diverged"]
    ours, uniform = lines[1:]
    assert ours[:5] == ["ours", "digits", "last", "deterministic", "0.500 [0.500, 0.500]"]
    assert ours[5:7] == ["-1.000 [-1.000, -1.000]", "1.000 [1.000, 1.000]"]
    assert ours[7:] == ["–", "0.50 [0.50, 0.50]", "300", "1.00", "0/6"]  # nobody has a proxy accuracy; all are equal
    assert uniform[8] == ""
    alone = _results().query("policy == 'ours'").assign(trained_on="a+b+c")
    heading, line = overall(ResultsView(alone))
    assert not any("better" in text for text in heading) and len(line) == len(heading)
    assert line[1] == "3 pairs"


def test_tables_line_up() -> None:
    assert markdown_table([["a", "long"], ["longer", "b"]]) == (
        "| a      | long |\n|--------|------|\n| longer | b    |"
    )


def test_pictures_are_drawn_that_there_are_numbers_for(tmp_path: Path, figures: list[Figure]) -> None:
    matrices = ["transfer_real_accuracy.png", "transfer_v_end.png", "transfer_proxy_accuracy.png"]
    improvement = ["improvement_real_accuracy.png", "improvement_v_end.png"]
    view = results_view()
    assert write_pictures(view, tmp_path) == [*matrices, "iqm.png", "profiles.png", *improvement]
    blind = ResultsView(view.table.assign(real_accuracy=np.nan, proxy_accuracy=np.nan))
    assert write_pictures(blind, tmp_path) == [matrices[1], "iqm.png", "profiles.png", improvement[1]]
    alone = ResultsView(view.table.query("policy == 'theirs'"))
    assert write_pictures(alone, tmp_path) == [*matrices, "iqm.png", "profiles.png"]
    sampled = ResultsView(alone.table.assign(mode="sampled"))  # pictures show deterministic actions
    log = TensorBoardLog(tmp_path / "events")
    for episode in (16, 32):
        log({"episode": episode, "return_mean": 0.5})
    log.close()
    events = {"theirs": tmp_path / "events", "ours": tmp_path / "nowhere"}
    assert write_pictures(sampled, tmp_path, events=events) == ["learning_curves.png"]
    assert [line.get_label() for line in figures[-1].axes[0].lines] == ["start of training", "theirs"]
