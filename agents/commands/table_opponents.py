"""What people use today, as further rows of ``l2o table``: hand-made opponents, and those tuned on the very pair."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from l2o_env.cluster.tasks import Tasks
from l2o_env.config import EnvConfig
from l2o_env.evaluation.contestant import Contestant
from l2o_env.evaluation.rollout import Progress
from l2o_env.results.kept_parts import KeptParts
from l2o_env.results.run_folder import TUNED_FOLDER

from .console import Reporter
from .contestants import opponents
from .tuned import tuned_opponents

USUAL = ("adamw-cosine", "adamw-layer-decay", "prodigy", "schedule-free")
"""Those beside all of the paper's rows."""


def beside_the_rows(
    names: Sequence[str],
    searches: Sequence[str],
    pair: str,
    config: EnvConfig,
    episodes: int,
    seed: int,
    reporter: Reporter,
    kept: KeptParts,
    tasks: Tasks | None,
) -> list[Contestant]:
    """The opponents of a table, at their usual settings and tuned.

    Args:
        names: The hand-made ones.
        searches: What is tuned, if there are `episodes`.
        pair: The pair.
        config: Settings of the environment.
        episodes: Episodes of each search; 0: nothing is tuned.
        seed: Seed of random rates and of tuning.
        reporter: Shows how it goes.
        kept: Where tuned ones are kept.
        tasks: The cluster that searches are tasks of.

    Raises:
        ConfigError: If a name is unknown.
        WriteError: If tuned ones cannot be kept.
    """
    found = opponents(names, config, seed)
    if not episodes or kept.folder is None:
        return found

    kept.begin()

    def progress(pair: str, search: str) -> AbstractContextManager[Progress]:
        return reporter.steps(f"Tuning {search}")

    with kept.folder.guard(TUNED_FOLDER) as folder:
        return found + tuned_opponents(searches, [pair], config, episodes, seed, folder, progress, tasks)
