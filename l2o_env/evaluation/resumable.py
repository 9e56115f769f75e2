"""Policies x pairs x seeds in parts that are kept, so that an evaluation goes on where it was cut off."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd

import l2o_env
from l2o_env import pairs as pair_registry
from l2o_env.atomic import atomic_path
from l2o_env.episodes import n_steps
from l2o_env.errors import ConfigError, require_integer, unknown_name
from l2o_env.evaluation.contestant import Contestant, Mode
from l2o_env.evaluation.evaluate import check_runs, evaluate
from l2o_env.evaluation.rollout import MAX_OPTIMIZEES, Progress
from l2o_env.evaluation.summary import target_oracle, tidy
from l2o_env.pairs import Split
from l2o_env.pairs.images.image_split import ImageSplit
from l2o_env.results.record import merge_recordings, recording
from l2o_env.results.run_folder import PARTS, RECORDING

if TYPE_CHECKING:
    import pyarrow as pa

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


@dataclass(frozen=True)
class _Part:
    """One agent on one pair in one mode, on seeds that are those of all parts.

    Two parts that differ in what the agent is called, not in what it is, have one name and share what is kept.
    """

    contestant: Contestant
    pair: str
    mode: Mode
    images: str
    """What tells the pair's images and proxy from any others'; see :func:`pair_digest`."""
    n_seeds: int
    seed: int

    @cached_property
    def settings(self) -> str:
        """All that the results depend on."""
        config = asdict(replace(self.contestant.config, pairs=(self.pair,), common_random_numbers=False))
        agent, mode, pair, images = self.contestant.digest, self.mode, self.pair, self.images
        settings = {"agent": agent, "mode": mode, "pair": pair, "images": images, "n_seeds": self.n_seeds}
        settings |= {"seed": self.seed, "config": config, "version": l2o_env.__version__, "format": 2}
        return json.dumps(settings, sort_keys=True)

    @cached_property
    def name(self) -> str:
        """Of its files."""
        return hashlib.sha256(self.settings.encode()).hexdigest()[:20]

    @property
    def n_steps(self) -> int:
        """Steps that it takes, unless episodes diverge."""
        n_populations = -(-self.n_seeds // MAX_OPTIMIZEES)
        return n_steps(self.contestant.config, pair_registry.make(self.pair)) * n_populations


def evaluate_in_parts(
    contestants: Sequence[Contestant],
    pairs: Sequence[str],
    n_seeds: int,
    folder: Path,
    *,
    seed: int = 0,
    progress: Progress | None = None,
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

    Returns:
        One row per policy, selection, mode, pair and seed with the columns ``TIDY_COLUMNS`` and the accuracies of the
        classes; ``wall_time`` is in seconds per episode (they run side by side). Policies with several checkpoints
        have rows of the selection ``"target-oracle"`` besides.

    Raises:
        ConfigError: Before anything runs, if a name is unknown or an agent does not fit a pair's network or actions.
        OSError: If something cannot be written; finished parts stay.
    """
    parts = _plan(contestants, pairs, n_seeds, seed)
    store = _Store(folder / PARTS)
    different = {part.name: part for part in parts}
    unfinished = [part for part in different.values() if store.read(part) is None]
    _run_all(unfinished, store, progress)
    results = pd.concat([_labelled(store.read_finished(part), part) for part in parts], ignore_index=True)
    results = pd.concat([results, target_oracle(results)], ignore_index=True)
    # Checkpoints that are neither the last nor the selected one are there for the oracle to choose among.
    shown = [part for part in parts if part.contestant.selection != "checkpoint"]
    names = _recorded_names(contestants)
    recordings = [(store.recording_of(part), names[id(part.contestant)]) for part in shown]
    merge_recordings(recordings, folder / RECORDING)
    results = tidy(results[results["selection"] != "checkpoint"])
    return Evaluated(results, kept=len(different) - len(unfinished), n_parts=len(different))


def _run_all(parts: Sequence[_Part], store: _Store, progress: Progress | None) -> None:
    """Runs parts one after the other; their progress is that of all together."""
    done, total = 0, sum(part.n_steps for part in parts)
    for part in parts:
        store.run(part, _shifted(progress, done, total))
        done += part.n_steps


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


def _plan(contestants: Sequence[Contestant], pairs: Sequence[str], n_seeds: int, seed: int) -> list[_Part]:
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
                parts += [_Part(contestant, pair, mode, images[pair], n_seeds, seed) for mode in contestant.modes]
    return parts


def _twice(names: Iterable[Any]) -> Any:
    seen: set[Any] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]


def pair_digest(pair: Pair) -> str:
    """SHA-256 of a pair's images (of files: names, sizes and times), labels and proxy."""
    digest = hashlib.sha256()
    for split in (pair.train, pair.validation, pair.target, pair.proxy_test):
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


class _Store:
    """The folder of the finished parts: of each its results, and the recording of its steps."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def recording_of(self, part: _Part) -> Path:
        """The recording of a part."""
        return self._folder / f"{part.name}.{RECORDING}"

    def results_of(self, part: _Part) -> Path:
        """Its results, with the settings that they depend on."""
        return self._folder / f"{part.name}.parquet"

    def run(self, part: _Part, progress: Progress | None) -> None:
        """Runs a part and writes it; its results last, because they say that it is finished."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        contestant = part.contestant
        names = pair_registry.make(part.pair).layout.group_names
        started = time.perf_counter()
        with recording(self.recording_of(part), {part.pair: names}) as recorder:
            frame = evaluate(
                {contestant.policy: contestant.load()},
                [part.pair],
                part.n_seeds,
                contestant.config,
                seed=part.seed,
                deterministic=part.mode == "deterministic",
                per_class=True,
                progress=progress,
                on_step=recorder,
            )
        frame["wall_time"] = (time.perf_counter() - started) / part.n_seeds
        table = pa.Table.from_pandas(frame.drop(columns=["policy", "pair"]), preserve_index=False)
        recorded = _digest_of(self.recording_of(part))
        metadata = {"settings": part.settings, "recording": recorded, "sha256": _digest(table)}
        with atomic_path(self.results_of(part)) as path:
            pq.write_table(table.replace_schema_metadata(metadata), path)

    def read(self, part: _Part) -> pd.DataFrame | None:
        """The results of a part; None if there are none, or if they or the recording are not as they were written."""
        import pyarrow.parquet as pq

        if not self.results_of(part).is_file() or not self.recording_of(part).is_file():
            return None
        try:
            table = pq.read_table(self.results_of(part))
            found = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
            expected = {"settings": part.settings, "recording": _digest_of(self.recording_of(part))}
            if found != {**expected, "sha256": _digest(table)}:
                return None
            return table.to_pandas()
        except Exception:  # a reader of what may be damaged raises anything; the part is made again
            return None

    def read_finished(self, part: _Part) -> pd.DataFrame:
        """The results of a part that is there.

        Raises:
            ConfigError: If it is not, because somebody else changed the folder.
        """
        frame = self.read(part)
        if frame is None:
            raise ConfigError(f"The part {part.name} in {self._folder} changed while it was read; evaluate again.")
        return frame


def _digest(table: pa.Table) -> str:
    """SHA-256 of names, types and values of a table."""
    return hashlib.sha256(f"{table.schema.types} {table.to_pydict()}".encode()).hexdigest()


def _digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _labelled(frame: pd.DataFrame, part: _Part) -> pd.DataFrame:
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
