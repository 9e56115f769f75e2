"""What an evaluation says in words, on a hand-made table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from l2o_env.evaluation.evaluate import CLASS_COLUMN
from l2o_env.evaluation.report import each_class, each_pair, to_markdown

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
                        "v_return": 1.0, "proxy_accuracy": np.nan, "updates": 300, "wall_time": 1.0, **shares,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def test_classes_of_one_name_are_averaged_and_no_others() -> None:
    digits, pets = each_class(_results(), CLASSES)
    assert digits == [["policy", "0", "1"], ["ours", "0.10", "0.30"], ["uniform", "0.10", "0.30"]]
    assert pets == [
        ["policy", "cat", "dog", "cow"],
        ["ours", "0.10", "0.30", "0.50"],
        ["uniform", "0.10", "0.30", "0.50"],
    ]
    unseen = _results().drop(columns=[CLASS_COLUMN.format(k) for k in range(3)])
    assert each_class(unseen, {"digits": ("0", "1")})[0][1] == ["ours", "–", "–"]


def test_pairs_are_called_by_their_labels() -> None:
    lines = each_pair(_results())
    assert [line[0] for line in lines[1:]] == ["digits", "digits", "pets", "pets", "more", "more"]
    assert [line[2] for line in lines[1:3]] == ["yes", "yes"]
    text = to_markdown(_results(), None, CLASSES)
    assert "folders:source" not in text
    assert "| policy  | cat  | dog  | cow  |" in text
    assert "each class" not in to_markdown(_results())
