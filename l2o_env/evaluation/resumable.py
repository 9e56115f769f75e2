"""Policies x pairs x seeds in parts that are kept, so that an evaluation goes on where it was cut off."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd

from l2o_env import pairs as pair_registry
from l2o_env.cluster.tasks import Tasks, sendable
from l2o_env.errors import ConfigError, require_integer, unknown_name
from l2o_env.evaluation.agent import AgentLike
from l2o_env.evaluation.contestant import Contestant, Mode
from l2o_env.evaluation.evaluate import check_runs
from l2o_env.evaluation.parts import Part, Store
from l2o_env.evaluation.rollout import Progress
from l2o_env.evaluation.summary import target_oracle, tidy
from l2o_env.pairs import Split
from l2o_env.pairs.images.image_split import ImageSplit
from l2o_env.results.record import merge_recordings
from l2o_env.results.run_folder import PARTS, RECORDING

if TYPE_CHECKING:
    from l2o_env.pairs import Pair


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation came to.

    Attributes:
        results: The tidy table; see :func:`evaluate_in_parts`.
        kept: Parts that had been finished before.
        n_parts: All parts.
    """

    results: pd.DataFrame
    kept: int
    n_parts: int


def evaluate_in_parts(
    contestants: Sequence[Contestant],
    pairs: Sequence[str],
    n_seeds: int,
    folder: Path,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    tasks: Tasks | None = None,
) -> Evaluated:
    """Evaluates agents on pairs and seeds, and keeps each agent, pair and mode as soon as it is finished.

    A second call with the same folder goes on where the first was cut off. A kept part is used only if all that it
    depends on is as it was: the agent's files, the pair's images, the settings and the version of this package. The
    seeds are those of ``l2o_env.evaluate``. Every step is recorded too (``actions.parquet``); the last
    checkpoint of a policy that was also selected on the source is called ``"<policy> (last)"`` there.

    Args:
        contestants: The agents; those of one name and run are checkpoints of one policy.
        pairs: Names of pairs.
        n_seeds: Episodes of each agent on each pair in each mode.
        folder: Where parts and recording go; it must exist.
        seed: Seed of the evaluation seeds.
        progress: Called with the steps made and planned.
        tasks: The cluster that parts are tasks of; None runs them here, one after the other. The results are the same.

    Returns:
        One row per policy, selection, mode, pair and seed with the columns ``TIDY_COLUMNS`` and the accuracies of the
        classes; ``wall_time`` is in seconds per episode (they run side by side). Policies with several checkpoints
        have rows of the selection ``"target-oracle"`` besides.

    Raises:
        ConfigError: Before anything runs, if a name is unknown or an agent does not fit a pair's network or actions.
        OSError: If something cannot be written; finished parts stay.
    """
    parts = _plan(contestants, pairs, n_seeds, seed)
    store = Store(folder / PARTS)
    different = {part.name: part for part in parts}
    unfinished = [part for part in different.values() if store.read(part) is None]
    (_run_all if tasks is None else partial(_run_tasks, tasks))(unfinished, store, progress)
    results = pd.concat([_labelled(store.read_finished(part), part) for part in parts], ignore_index=True)
    results = pd.concat([results, target_oracle(results)], ignore_index=True)
    # Checkpoints that are neither the last nor the selected one are there for the oracle to choose among.
    shown = [part for part in parts if part.contestant.selection != "checkpoint"]
    names = _recorded_names(contestants)
    recordings = [(store.recording_of(part), names[id(part.contestant)]) for part in shown]
    merge_recordings(recordings, folder / RECORDING)
    results = tidy(results[results["selection"] != "checkpoint"])
    return Evaluated(results, kept=len(different) - len(unfinished), n_parts=len(different))


def _run_all(parts: Sequence[Part], store: Store, progress: Progress | None) -> None:
    """Runs parts one after the other; their progress is that of all together."""
    done, total = 0, sum(part.n_steps for part in parts)
    for part in parts:
        store.run(part, _shifted(progress, done, total))
        done += part.n_steps


def _run_tasks(tasks: Tasks, parts: Sequence[Part], store: Store, progress: Progress | None) -> None:
    """Runs parts on a cluster, and writes each here as soon as it has come; nodes share no files."""
    done, total = 0, sum(part.n_steps for part in parts)
    calls = [partial(_files_of, _with_agent(part)) for part in parts]
    for k, files in tasks.run(calls, tuple(dict.fromkeys(part.pair for part in parts))):
        store.write(parts[k], files)
        done += parts[k].n_steps
        if progress is not None:
            progress(done, total, f"{parts[k].contestant.policy} on {pair_registry.label(parts[k].pair)}")


def _with_agent(part: Part) -> Part:
    """A part that needs no folder to make its agent of, unless the agent cannot be sent."""
    agent = part.contestant.load()
    if not sendable(agent):
        return part
    return replace(part, contestant=replace(part.contestant, load=partial(_identity, agent)))


def _identity(agent: AgentLike) -> AgentLike:
    return agent


def _files_of(part: Part) -> tuple[bytes, bytes]:
    """Runs a part in a task; its recording and its results, as files hold them."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / PARTS)
        store.run(part, None)
        return store.recording_of(part).read_bytes(), store.results_of(part).read_bytes()


def _recorded_names(contestants: Sequence[Contestant]) -> dict[int, str]:
    """What the recording calls each contestant, by its ``id``."""
    policies = {each.policy for each in contestants}
    selected = {(each.policy, each.run) for each in contestants if each.selection == "source"}
    runs = {policy: {each.run for each in contestants if each.policy == policy} for policy in policies}
    names = {}
    for each in contestants:
        name = f"{each.policy} [{each.run}]" if len(runs.get(each.policy, ())) > 1 else each.policy
        last = each.selection == "last" and (each.policy, each.run) in selected
        names[id(each)] = f"{name} (last)" if last else name
    return names


def _plan(contestants: Sequence[Contestant], pairs: Sequence[str], n_seeds: int, seed: int) -> list[Part]:
    n_seeds = require_integer("n_seeds", n_seeds)
    if not contestants or not pairs:
        raise ConfigError(f"Got {len(contestants)} policies and {len(pairs)} pairs to evaluate; expected at least one.")
    for name in pairs:
        pair_registry.check(name)
    twice = _twice((each.policy, each.run, each.selection, each.checkpoint, each.pairs) for each in contestants)
    if twice:
        raise ConfigError(f"Two policies are called {twice[0]!r} and are of the same run; give them different names.")
    images = {name: pair_digest(pair_registry.make(name)) for name in pairs}
    parts = []
    for contestant in contestants:
        agent = contestant.load()
        for mode in contestant.modes:
            if mode not in get_args(Mode):
                raise unknown_name("mode", mode, get_args(Mode))
        for pair in pairs:
            if contestant.pairs is None or pair in contestant.pairs:
                check_runs({contestant.policy: agent}, [pair], contestant.config)
                parts += [Part(contestant, pair, mode, images[pair], n_seeds, seed) for mode in contestant.modes]
    return parts


def _twice(names: Iterable[Any]) -> Any:
    seen: set[Any] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]


def pair_digest(pair: Pair) -> str:
    """SHA-256 of a pair's images (of files: names, sizes and times), labels and proxy."""
    digest = hashlib.sha256()
    for split in (pair.train, pair.validation, pair.target, pair.proxy_test, pair.shifted and pair.split("shifted")):
        if isinstance(split, ImageSplit):
            digest.update(split.fingerprint().encode())
        for tensor in (split.images, split.labels) if isinstance(split, Split) else ():
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    for name, tensor in sorted(pair.proxy.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _shifted(progress: Progress | None, done: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda made, planned, text: progress(done + made, total, text)


def _labelled(frame: pd.DataFrame, part: Part) -> pd.DataFrame:
    contestant = part.contestant
    return frame.assign(
        policy=contestant.policy,
        run=contestant.run,
        trained_on="+".join(contestant.trained_on),
        selection=contestant.selection,
        checkpoint=contestant.checkpoint,
        mode=part.mode,
        pair=part.pair,
    )
