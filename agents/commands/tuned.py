"""Opponents that are tuned on the very pair, each of which is kept as soon as it is found."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from l2o_env import pairs as pair_registry
from l2o_env.atomic import atomic_path
from l2o_env.cluster.tasks import Tasks
from l2o_env.config import IN_PROCESS, EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.agent import settings_for
from l2o_env.evaluation.contestant import Contestant, folder_digest
from l2o_env.evaluation.resumable import pair_digest
from l2o_env.evaluation.rollout import Progress

from ..factory import load
from ..opponents import SEARCHES, TUNED
from ..opponents.files import load as load_schedule
from ..opponents.rate_setter import RateSetter
from .contestants import agent_digest

ShowProgress = Callable[[str, str], AbstractContextManager[Progress]]
"""Pair and search to what shows how it goes."""
_NOT_OF_RESULTS = ("pairs", "device", "implementation", "cuda_graphs", *IN_PROCESS)
"""Settings that the tuned opponents of a pair do not depend on."""
_TUNED_WITH = "settings.json"


class _Tuning(NamedTuple):
    """A search on a pair, what its outcome depends on, as text, and where that is kept."""

    pair: str
    search: str
    settings: str
    folder: Path


def tuned_opponents(
    searches: Sequence[str],
    pairs: Sequence[str],
    config: EnvConfig,
    episodes: int,
    seed: int,
    folder: Path,
    progress: ShowProgress,
    tasks: Tasks | None = None,
) -> list[Contestant]:
    """The tuned opponents of pairs; they are kept in a folder, and tuned once.

    Args:
        searches: Names of ``SEARCHES``.
        pairs: The pairs.
        config: Settings to tune with.
        episodes: Episodes of each search.
        seed: Seed of the episodes.
        folder: Where they are kept; made if it is not there.
        progress: Shows how it goes.
        tasks: The cluster that searches are tasks of; None runs them here, one after the other.
    """
    tunings = [
        _Tuning(pair, search, text, folder / _folder_of(pair) / search)
        for pair in pairs
        for text in (_settings(pair, config, episodes, seed),)
        for search in searches
    ]
    found = {each: agents for each in tunings if (agents := _kept(each)) is not None}
    missing = [each for each in tunings if each not in found]
    calls = [partial(SEARCHES[each.search], config, each.pair, episodes, seed) for each in missing]
    tuned = _here(missing, calls, progress) if tasks is None else _on(tasks, missing, calls, progress)
    for tuning, agents in tuned:
        found[tuning] = agents
        _keep(tuning, agents)
    return [
        Contestant(
            agent.name, partial(load, each.folder / agent.name), agent_digest(agent),
            settings_for(agent, config), "tuned", trained_on=(each.pair,), pairs=(each.pair,),
        )
        for each in tunings
        for agent in found[each]
    ]  # fmt: skip


_Call = Callable[[Progress | None], list[RateSetter]]


def _here(
    tunings: Sequence[_Tuning], calls: Sequence[_Call], progress: ShowProgress
) -> Iterator[tuple[_Tuning, list[RateSetter]]]:
    for tuning, call in zip(tunings, calls, strict=True):
        with progress(tuning.pair, tuning.search) as report:
            agents = call(report)
        yield tuning, agents


def _on(
    tasks: Tasks, tunings: Sequence[_Tuning], calls: Sequence[_Call], progress: ShowProgress
) -> Iterator[tuple[_Tuning, list[RateSetter]]]:
    pairs = tuple(dict.fromkeys(each.pair for each in tunings))
    for k, agents in tasks.run([partial(call, None) for call in calls], pairs) if tunings else ():
        with progress(tunings[k].pair, tunings[k].search) as report:
            report(1, 1, "")
        yield tunings[k], agents


def _settings(pair: str, config: EnvConfig, episodes: int, seed: int) -> str:
    settings = {"pair": pair, "episodes": episodes, "seed": seed, "layers": pair_registry.make(pair).layout.n_layers}
    settings |= {key: value for key, value in vars(config).items() if key not in _NOT_OF_RESULTS}
    settings |= {"images": pair_digest(pair_registry.make(pair))}
    return json.dumps(settings, sort_keys=True)


def _kept(tuning: _Tuning) -> list[RateSetter] | None:
    """The opponents in a folder, if they were tuned with these settings and are as they were written."""
    names = TUNED[tuning.search]
    try:
        if (tuning.folder / _TUNED_WITH).read_text(encoding="utf-8") != _signed(tuning, names):
            return None
        return [load_schedule(tuning.folder / name) for name in names]
    except (OSError, ConfigError, UnicodeDecodeError):
        return None


def _keep(tuning: _Tuning, agents: Sequence[RateSetter]) -> None:
    (tuning.folder / _TUNED_WITH).unlink(missing_ok=True)  # cut off here, there is nothing to be taken for finished
    for agent in agents:
        agent.save(tuning.folder / agent.name)
    with atomic_path(tuning.folder / _TUNED_WITH) as path:
        path.write_text(_signed(tuning, [agent.name for agent in agents]), encoding="utf-8")


def _signed(tuning: _Tuning, names: Sequence[str]) -> str:
    """What opponents were tuned with, and the checksums of what they are."""
    checksums = {name: folder_digest(tuning.folder / name) for name in names}
    return json.dumps({"settings": tuning.settings, "sha256": checksums})


def _folder_of(pair: str) -> str:
    """Name of the folder for a pair: its label so far as names of files may hold it, and what tells it from others.

    A pair's text may hold anything, also what would lead out of the folder.
    """
    words = re.sub(r"[^A-Za-z0-9-]+", "-", pair_registry.label(pair))[:40].strip("-")
    return f"{words}-{hashlib.sha256(pair.encode()).hexdigest()[:12]}"
