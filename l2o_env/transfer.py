"""Policies x pairs x seeds in parts that are kept, so that an evaluation goes on where it was cut off."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

import l2o_env
from l2o_env import pairs as pair_registry
from l2o_env.config import EnvConfig
from l2o_env.core import n_steps
from l2o_env.errors import ConfigError, unknown_name
from l2o_env.evaluate import CLASS_COLUMN, check_runs, evaluate
from l2o_env.files import atomic_path
from l2o_env.models.base import new_generator
from l2o_env.pairs import Split
from l2o_env.pairs.images import ImageSplit
from l2o_env.record import merge_recordings, recording
from l2o_env.rollout import MAX_OPTIMIZEES, AgentLike, Progress, episode_seeds

if TYPE_CHECKING:
    from l2o_env.pairs import Pair

Mode = Literal["deterministic", "sampled"]
"""Whether a policy takes its most likely action or draws one."""
Selection = Literal["last", "source", "checkpoint", "target-oracle", "fixed", "tuned"]
"""How a policy was chosen.

- ``last``: the last of its training;
- ``source``: the checkpoint that was best by V on the held-out *synthetic* images of the training pairs;
- ``checkpoint``: any other checkpoint, for the oracle to choose among;
- ``target-oracle``: the checkpoint that is best by real accuracy on the very pair and seeds. This is an upper bound
  that reads the target: not zero-shot;
- ``fixed``: made by hand;
- ``tuned``: tuned by V on the very pair.
"""

TIDY_COLUMNS = (
    "policy", "run", "trained_on", "selection", "mode", "pair", "seed", "v_start", "v_end", "v_return", "real_accuracy",
    "proxy_accuracy", "validation_accuracy", "updates", "wall_time", "diverged", "return",
)  # fmt: skip
"""Columns of :func:`evaluate_in_parts`, beside those of the classes (``evaluate.CLASS_COLUMN``)."""
PARTS = "parts"
"""Folder of the finished parts."""


@dataclass(frozen=True)
class Contestant:
    """An agent to evaluate, and what the table says of it.

    Attributes:
        policy: Its name; those of one name and different `run` are one policy, trained several times.
        load: Makes the agent, in the same state each time, so that a part's result does not hang on those before it.
        digest: Tells its content from any other's; see :func:`folder_digest`.
        config: Settings to run it with; ``pairs`` and ``common_random_numbers`` are not read.
        selection: How it was chosen.
        run: Which training run of the policy it is.
        checkpoint: Which of its checkpoints, if `selection` is ``"checkpoint"``.
        trained_on: Names of the pairs it was trained on.
        modes: How it acts; hand-made rates know but one way.
        pairs: The pairs it is meant for, such as the one it was tuned on; None: all.
    """

    policy: str
    load: Callable[[], AgentLike]
    digest: str
    config: EnvConfig
    selection: Selection
    run: str = ""
    checkpoint: str = ""
    trained_on: tuple[str, ...] = ()
    modes: tuple[Mode, ...] = ("deterministic",)
    pairs: tuple[str, ...] | None = None


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
    seeds are those of :func:`l2o_env.evaluate.evaluate`. Every step is recorded too (``actions.parquet``); the last
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
    return Evaluated(_tidy(results[results["selection"] != "checkpoint"]), kept, len(open_parts) + kept)


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


def folder_digest(folder: Path) -> str:
    """SHA-256 of the names and bytes of all files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)} {len(content)}\n".encode() + content)
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


def target_oracle(results: pd.DataFrame) -> pd.DataFrame:
    """For each policy, mode and pair the rows of the checkpoint with the highest real accuracy there.

    This reads the target, on the very seeds that it reports: an upper bound of what any selection can reach, and not
    zero-shot. Policies with a single checkpoint have no rows.

    Args:
        results: Rows of the selections ``"last"``, ``"source"`` and ``"checkpoint"``, among others, with their
            ``checkpoint``.
    """
    found = [results.iloc[:0]]
    choice = results[results["selection"].isin(("last", "source", "checkpoint"))]
    for _, rows in choice.groupby(["policy", "run", "mode", "pair"], sort=False):
        groups = [group for _, group in rows.groupby(["selection", "checkpoint"], sort=False)]
        means = [float(group["real_accuracy"].mean()) for group in groups]
        if len(means) > 1 and np.isfinite(means).all():
            found.append(groups[int(np.argmax(means))].assign(selection="target-oracle"))
    return pd.concat(found, ignore_index=True)


def _tidy(results: pd.DataFrame) -> pd.DataFrame:
    classes = [column for column in results.columns if column.startswith(CLASS_COLUMN.format(""))]
    classes.sort(key=lambda column: int(column.rsplit("_", 1)[-1]))
    order = {name: k for k, name in enumerate(get_args(Selection))}
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
