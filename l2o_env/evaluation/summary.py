"""The tidy table of an evaluation: columns, order, selections, and the rows to look at first."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd

from l2o_env.evaluation.contestant import SelectionRule
from l2o_env.evaluation.evaluate import CLASS_COLUMN

TIDY_COLUMNS = (
    "policy", "run", "trained_on", "selection", "mode", "pair", "seed", "v_start", "v_end", "v_return", "real_accuracy",
    "proxy_accuracy", "validation_accuracy", "updates", "wall_time", "diverged", "return",
)  # fmt: skip
"""Columns of :func:`evaluate_in_parts`, beside those of the classes (``evaluate.CLASS_COLUMN``)."""
TEXT_COLUMNS = ("policy", "run", "trained_on", "selection", "mode", "pair", "checkpoint")
"""Those of them that hold names."""
PREFERRED_REFERENCE = "uniform"


def target_oracle(results: pd.DataFrame) -> pd.DataFrame:
    """For each policy, mode and pair the rows of the checkpoint with the highest real accuracy there.

    This reads the target, on the very seeds that it reports: an upper bound of what any selection can reach, and not
    zero-shot. Policies with a single checkpoint have no rows.

    Args:
        results: Rows of the selections ``"last"``, ``"source"`` and ``"checkpoint"``, among others, with their
            ``checkpoint``.
    """
    chosen = [results.iloc[:0]]
    candidates = results[results["selection"].isin(("last", "source", "checkpoint"))]
    for _, rows in candidates.groupby(["policy", "run", "mode", "pair"], sort=False):
        checkpoints = [group for _, group in rows.groupby(["selection", "checkpoint"], sort=False)]
        means = [float(group["real_accuracy"].mean()) for group in checkpoints]
        if len(means) > 1 and np.isfinite(means).all():
            chosen.append(checkpoints[int(np.argmax(means))].assign(selection="target-oracle"))
    return pd.concat(chosen, ignore_index=True)


def tidy(results: pd.DataFrame) -> pd.DataFrame:
    """The table with its columns in order, policy by policy, and of each the selections in order."""
    classes = [column for column in results.columns if column.startswith(CLASS_COLUMN.format(""))]
    classes.sort(key=lambda column: int(column.rsplit("_", 1)[-1]))
    order = {name: k for k, name in enumerate(get_args(SelectionRule))}
    results = results[[*TIDY_COLUMNS, *classes]].assign(_order=results["selection"].map(order))
    first = {name: k for k, name in enumerate(dict.fromkeys(results["policy"]))}
    results["_policy"] = results["policy"].map(first)
    results = results.sort_values(["_policy", "_order"], kind="stable", ignore_index=True)
    return results.drop(columns=["_order", "_policy"])


def primary(results: pd.DataFrame) -> pd.DataFrame:
    """The rows to look at first: deterministic actions of each policy as selected on the source, or else the last."""
    rows = results[(results["mode"] == "deterministic") & (results["selection"] != "target-oracle")]
    selected = set(rows[rows["selection"] == "source"]["policy"])
    return rows[~((rows["selection"] == "last") & rows["policy"].isin(selected))]


def reference_of(results: pd.DataFrame, name: str | None = None) -> str | None:
    """What the others are compared with: what is named, else ``uniform``, else the first opponent, else nobody."""
    opponents = list(dict.fromkeys(map(str, results[results["selection"].isin(("fixed", "tuned"))]["policy"])))
    if name is not None or not opponents:
        return name
    return PREFERRED_REFERENCE if PREFERRED_REFERENCE in opponents else opponents[0]
