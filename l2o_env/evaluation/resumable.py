"""Policies x pairs x seeds in parts that are kept, so that an evaluation goes on where it was cut off."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd

import l2o_env
from l2o_env import pairs as pair_registry
from l2o_env.atomic import atomic_path
from l2o_env.episodes import n_steps
from l2o_env.errors import ConfigError, unknown_name
from l2o_env.evaluation.contestant import Contestant, Mode
from l2o_env.evaluation.evaluate import check_runs, evaluate
from l2o_env.evaluation.rollout import MAX_OPTIMIZEES, Progress, episode_seeds
from l2o_env.evaluation.summary import target_oracle, tidy
from l2o_env.models.base import new_generator
from l2o_env.pairs import Split
from l2o_env.pairs.images.image_split import ImageSplit
from l2o_env.results.record import merge_recordings, recording

if TYPE_CHECKING:
    from l2o_env.pairs import Pair


PARTS = "parts"
"""Folder of the finished parts."""


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
    """One agent on one pair in one mode, whatever it is called."""

    contestant: Contestant
    pair: str
    mode: Mode
    settings: str

    @property
    def name(self) -> str:
        return hashlib.sha256(self.settings.encode()).hexdigest()[:20]


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
    store = folder / PARTS
    store.mkdir(exist_ok=True)
    open_parts = {part.name: part for part in parts if _read(store, part, n_seeds, seed) is None}
    kept = len({part.name for part in parts}) - len(open_parts)
    batches = -(-n_seeds // MAX_OPTIMIZEES)
    steps = [n_steps(p.contestant.config, pair_registry.make(p.pair)) * batches for p in open_parts.values()]
    for k, part in enumerate(open_parts.values()):
        _run(store, part, n_seeds, seed, _shifted(progress, sum(steps[:k]), sum(steps)))
    frames = []
    for part in parts:
        frame = _read(store, part, n_seeds, seed)
        if frame is None:
            raise ConfigError(f"The part {part.name} in {store} changed while it was read; evaluate again.")
        frames.append(_labelled(frame, part))
    results = pd.concat(frames, ignore_index=True)
    results = pd.concat([results, target_oracle(results)], ignore_index=True)
    names = _recorded_names(contestants)
    shown = [part for part in parts if part.contestant.selection != "checkpoint"]
    sources = [(store / f"{part.name}.actions.parquet", names[id(part.contestant)]) for part in shown]
    merge_recordings(sources, folder / "actions.parquet")
    return Evaluated(tidy(results[results["selection"] != "checkpoint"]), kept, len(open_parts) + kept)


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
    if isinstance(n_seeds, bool) or not isinstance(n_seeds, int) or n_seeds < 1:
        raise ConfigError(f"n_seeds is {n_seeds!r}; expected an integer >= 1.")
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
            if contestant.pairs is not None and pair not in contestant.pairs:
                continue
            check_runs({contestant.policy: agent}, [pair], contestant.config)
            parts += [
                _Part(contestant, pair, mode, _settings(contestant, mode, pair, images[pair], n_seeds, seed))
                for mode in contestant.modes
            ]
    return parts


def _twice(names: Iterable[Any]) -> Any:
    seen: set[Any] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]


def n_layers(pair: str) -> int:
    """Number of layer groups of a pair's network."""
    return len(pair_registry.make(pair).make_model(new_generator(0)).layer_groups())


def _settings(contestant: Contestant, mode: Mode, pair: str, images: str, n_seeds: int, seed: int) -> str:
    config = asdict(replace(contestant.config, pairs=(pair,), common_random_numbers=False))
    settings = {"agent": contestant.digest, "mode": mode, "pair": pair, "images": images, "n_seeds": n_seeds}
    settings |= {"seed": seed, "config": config, "version": l2o_env.__version__, "format": 1}
    return json.dumps(settings, sort_keys=True)


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


def _run(store: Path, part: _Part, n_seeds: int, seed: int, progress: Progress | None) -> None:
    """Runs a part and writes it; its results last, because they say that it is finished."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    contestant = part.contestant
    names = tuple(pair_registry.make(part.pair).make_model(new_generator(0)).layer_groups())
    started = time.perf_counter()
    with recording(store / f"{part.name}.actions.parquet", {part.pair: names}) as recorder:
        frame = evaluate(
            {contestant.policy: contestant.load()},
            [part.pair],
            n_seeds,
            contestant.config,
            seed=seed,
            deterministic=part.mode == "deterministic",
            per_class=True,
            progress=progress,
            on_step=recorder,
        )
    frame["wall_time"] = (time.perf_counter() - started) / n_seeds
    table = pa.Table.from_pandas(frame.drop(columns=["policy", "pair"]), preserve_index=False)
    with atomic_path(store / f"{part.name}.parquet") as path:
        pq.write_table(table.replace_schema_metadata({b"settings": part.settings.encode()}), path)


def _read(store: Path, part: _Part, n_seeds: int, seed: int) -> pd.DataFrame | None:
    """A finished part; None if there is none, or if it is damaged or not of these settings."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = store / f"{part.name}.parquet"
    if not path.is_file() or not (store / f"{part.name}.actions.parquet").is_file():
        return None
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError):
        return None
    settings = (table.schema.metadata or {}).get(b"settings", b"").decode(errors="replace")
    frame = table.to_pandas()
    if settings != part.settings or "seed" not in frame:
        return None
    return frame if frame["seed"].tolist() == episode_seeds(seed, "evaluation", n_seeds) else None


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
