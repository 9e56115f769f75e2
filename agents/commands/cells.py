"""The cells of tables as tasks of a cluster, for the commands that have a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from l2o_env.cluster.tasks import Tasks
from l2o_env.results.kept_parts import Run

from .console import Update

if TYPE_CHECKING:
    import pandas as pd


def on_cluster(tasks: Tasks | None, pairs: Sequence[str], update: Update) -> Run | None:
    """What runs the parts of a table on a cluster; None if there is none.

    Args:
        tasks: The cluster.
        pairs: Pairs that the parts use.
        update: Is told of each part that is finished.
    """
    return None if tasks is None else partial(_run, tasks, pairs, update)


def _run(
    tasks: Tasks, pairs: Sequence[str], update: Update, calls: Sequence[Callable[[], pd.DataFrame]]
) -> Iterator[tuple[int, pd.DataFrame]]:
    for done, found in enumerate(tasks.run(calls, pairs), start=1):
        update(done, "", len(calls))
        yield found


def kept_arguments(command: str, args: Any) -> dict[str, Any]:
    """What the parts of a command are kept for: its arguments, but for where they go and where they are computed."""
    arguments = {**asdict(args), "out": None}
    del arguments["ray"], arguments["gpus_per_worker"]
    return {"command": command, **arguments}
