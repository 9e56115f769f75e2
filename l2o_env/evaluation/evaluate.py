"""Policies x pairs x seeds -> one tidy table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l2o_env import pairs as pair_registry
from l2o_env.config import EnvConfig
from l2o_env.episodes import n_steps
from l2o_env.errors import ConfigError
from l2o_env.evaluation.rollout import (
    MAX_OPTIMIZEES,
    AgentLike,
    Outcome,
    Progress,
    Step,
    episode_seeds,
    reporter,
    run_episodes,
)
from l2o_env.inner.networks import check_pair, model_maker
from l2o_env.models.base import Optimizee, new_generator
from l2o_env.vector_env import Syn2RealVectorEnv

StepCallback = Callable[[str, str, int, NDArray[np.float32], dict[str, Any]], None]
"""Called with policy, pair, step (0: the reset), observations ``(N, ...)`` and info; see :func:`evaluate`."""

COLUMNS = (
    "policy",
    "pair",
    "seed",
    "v_start",
    "v_end",
    "v_return",
    "real_accuracy",
    "proxy_accuracy",
    "validation_accuracy",
    "updates",
    "diverged",
    "return",
)
"""Columns of :func:`evaluate`."""

CLASS_COLUMN = "real_accuracy_class_{}"
"""Columns of the accuracy on each class of the target."""

SUMMARISED = ("v_end", "v_return", "real_accuracy", "proxy_accuracy")
"""Columns of which :func:`summarise` gives mean and interval."""

_HEADINGS = {
    "policy": "policy",
    "pair": "pair",
    "v_end": "V",
    "v_return": "V-return",
    "real_accuracy": "real accuracy",
    "proxy_accuracy": "proxy accuracy kept",
    "diverged": "diverged",
}


def evaluate(
    agents: Mapping[str, AgentLike],
    pairs: Sequence[str],
    n_seeds: int,
    config: EnvConfig,
    *,
    seed: int = 0,
    deterministic: bool = True,
    per_class: bool = False,
    progress: Progress | None = None,
    on_step: StepCallback | None = None,
) -> pd.DataFrame:
    """Runs every agent on every pair, on the same seeds.

    The seeds are those of ``SeedSequence([seed, "evaluation"])``: they have nothing in common with those of training
    and tuning, and they are the same for all policies and pairs, so that differences between policies are paired.
    ``Syn2RealEnv(...).reset(seed=s)`` with a seed of the table makes the same episode again. Agents with an attribute
    ``config_overrides`` are run with these settings in place of the ones of `config`.

    Args:
        agents: Agents by the name that the table gives them.
        pairs: Names of pairs.
        n_seeds: Episodes of each policy on each pair.
        config: Settings of the environment; ``pairs`` and ``common_random_numbers`` are not read.
        seed: Seed of the evaluation seeds.
        deterministic: Whether agents take their most likely action.
        per_class: Whether the accuracy on each class of the target is wanted too, as columns ``CLASS_COLUMN.format(k)``
            (NaN for a class that a pair does not have).
        progress: Called after each step with steps made and planned; episodes that diverge make fewer.
        on_step: Called after each reset and step with policy, pair, step, observations and info. ``info["seed"]`` is
            the seed of each row, ``info["sampled"]`` tells whether its actions are, and ``info["_lr"]`` (or any other
            mask) tells the rows that count; more than 16 seeds come as several populations.

    Returns:
        One row per policy, pair and seed, with the columns ``COLUMNS``: V at the start, at the end (of the last
        finite weights, if it diverged) and their difference; accuracy on the real target, of the proxy's head on the
        proxy's test images, and on the held-out synthetic images; updates made; whether it diverged; sum of the
        rewards. Without target images the real accuracy is NaN, without proxy test images that of the proxy's head.

    Raises:
        ConfigError: Before anything runs, if there is nothing to evaluate, a pair is unknown or lacks what the settings
            need, or an agent was trained for actions that mean something else or for another number of layer groups.
    """
    if isinstance(n_seeds, bool) or not isinstance(n_seeds, int) or n_seeds < 1:
        raise ConfigError(f"n_seeds is {n_seeds!r}; expected an integer >= 1.")
    names = [pairs] if isinstance(pairs, str) else list(pairs)
    if not agents or not names:
        raise ConfigError(f"Got {len(agents)} agents and {len(names)} pairs to evaluate; expected at least one each.")
    for name in names:
        pair_registry.check(name)
    batches = _batches(episode_seeds(seed, "evaluation", n_seeds))
    frames: list[pd.DataFrame] = []
    runs = check_runs(agents, names, config)
    done, total = 0, sum(run.n_steps for run in runs) * len(batches)
    for run, venv in _populations(runs, len(batches[0][0])):
        policy, pair, agent = run.policy, run.pair, run.agent
        for row_seeds, n_rows in batches:
            report = reporter(progress, done, total, f"{policy} on {pair_registry.label(pair)}")
            built = venv.episodes.population.pairs[0]
            has_target = built.target is not None
            found = run_episodes(
                venv,
                agent,
                seeds=row_seeds,
                deterministic=deterministic,
                splits=[split for split in ("target", "proxy_test") if getattr(built, split) is not None],
                per_class=per_class and has_target,
                on_step=_observer(policy, pair, row_seeds, n_rows, on_step, report, not deterministic),
            )
            frames.append(_frame(policy, pair, row_seeds, found).iloc[:n_rows])
            report(run.n_steps)
            done += run.n_steps
    return pd.concat(frames, ignore_index=True)


def _batches(seeds: list[int]) -> list[tuple[list[int], int]]:
    """Splits seeds evenly into populations of one size: their rows' seeds, and how many of them count."""
    n_batches = -(-len(seeds) // MAX_OPTIMIZEES)
    size = -(-len(seeds) // n_batches)
    parts = [seeds[i : i + size] for i in range(0, len(seeds), size)]
    return [(part + part[-1:] * (size - len(part)), len(part)) for part in parts]


class Run(NamedTuple):
    """One agent on one pair.

    Attributes:
        pair: Name of the pair.
        policy: Name of the agent.
        agent: The agent.
        config: Settings that it runs with.
        n_steps: Steps of an episode, unless it diverges.
    """

    pair: str
    policy: str
    agent: AgentLike
    config: EnvConfig
    n_steps: int


def check_runs(agents: Mapping[str, AgentLike], pairs: Sequence[str], config: EnvConfig) -> list[Run]:
    """Every agent on every pair, all of which can be run.

    Args:
        agents: Agents by name.
        pairs: Names of pairs.
        config: Settings of the environment; see :func:`evaluate`.

    Raises:
        ConfigError: If an agent does not fit a pair's network or actions, or a pair lacks what settings need.
    """
    runs = []
    for pair in pairs:
        built = pair_registry.make(pair)
        models: dict[Any, Optimizee] = {}
        for policy, agent in agents.items():
            overrides = getattr(agent, "config_overrides", {})
            settings = replace(config, **{**overrides, "pairs": (pair,), "common_random_numbers": False})
            maker = model_maker(built, settings)
            if maker not in models:  # large networks take a while to make
                models[maker] = maker(new_generator(0))
            model = models[maker]
            check_pair(built, model, settings)
            check_agent(policy, agent, settings, len(model.layer_groups()), pair)
            runs.append(Run(pair, policy, agent, settings, n_steps(settings, built)))
    return runs


def _populations(runs: Sequence[Run], n: int) -> Iterator[tuple[Run, Syn2RealVectorEnv]]:
    """The runs, each with its population; agents of the same settings share one, as long as the pair is the same."""
    venvs: dict[EnvConfig, Syn2RealVectorEnv] = {}
    pair = ""
    for run in runs:
        if run.pair != pair:
            pair, venvs = run.pair, {}
        if run.config not in venvs:
            venvs[run.config] = Syn2RealVectorEnv(n, **asdict(run.config))
        yield run, venvs[run.config]


def check_agent(policy: str, agent: AgentLike, config: EnvConfig, n_layers: int, pair: str) -> None:
    """Raises ConfigError unless an agent fits an environment; agents without ``check_env`` and ``check_layers`` do.

    Args:
        policy: What the error calls the agent.
        agent: The agent. ``check_env(config)`` and ``check_layers(n_layers)`` raise ``ConfigError`` if it does not fit.
        config: Settings of the environment.
        n_layers: Layer groups of the pair's network.
        pair: What the error calls the pair.
    """
    try:
        if hasattr(agent, "check_env"):
            agent.check_env(config)
        if hasattr(agent, "check_layers"):
            agent.check_layers(n_layers)
    except ConfigError as error:
        raise ConfigError(f"{policy!r} cannot run on the pair {pair!r}: {error}") from error


def _observer(
    policy: str,
    pair: str,
    seeds: list[int],
    n_rows: int,
    on_step: StepCallback | None,
    report: Callable[[int], None],
    sampled: bool,
) -> Callable[[Step], None]:
    """Passes the steps of a rollout on, with what a recorder wants to know besides."""
    counts = np.arange(len(seeds)) < n_rows

    def observe(step: Step) -> None:
        report(step.number)
        if on_step is not None:
            info = {key: value & counts if key.startswith("_") else value for key, value in step.info.items()}
            info |= {"seed": np.array(seeds), "_seed": step.running & counts}
            info |= {"sampled": np.full(len(seeds), sampled), "_sampled": info["_seed"]}
            on_step(policy, pair, step.number, step.observations, info)

    return observe


def _frame(policy: str, pair: str, seeds: list[int], found: Outcome) -> pd.DataFrame:
    unknown = np.full(len(seeds), np.nan)  # of one value pandas would make a column of objects
    columns = {
        "policy": policy,
        "pair": pair,
        "seed": seeds,
        "v_start": found.v_start,
        "v_end": found.v_end,
        "v_return": found.v_end - found.v_start,
        "real_accuracy": found.accuracy.get("target", unknown),
        "proxy_accuracy": found.accuracy.get("proxy_test", unknown),
        "validation_accuracy": found.validation_accuracy,
        "updates": found.updates,
        "diverged": found.diverged,
        "return": found.returns,
    }
    frame = pd.DataFrame(columns, columns=list(COLUMNS))
    if found.class_accuracy is not None:
        for k, values in enumerate(found.class_accuracy.T):
            frame[CLASS_COLUMN.format(k)] = values
    return frame


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and 95 % confidence interval over seeds, of each policy on each pair.

    Args:
        frame: What :func:`evaluate` returned.

    Returns:
        Columns ``policy``, ``pair``, ``n_seeds``, each of ``SUMMARISED`` with the half-width of its Student t interval
        as ``<column>_ci`` (NaN for one seed), and ``diverged``, the number of runs that did. Policies and pairs keep
        the order of their first row.
    """
    from scipy.stats import t

    rows = []
    for (policy, pair), group in frame.groupby(["policy", "pair"], sort=False):
        row: dict[str, Any] = {"policy": policy, "pair": pair, "n_seeds": len(group)}
        for column in SUMMARISED:
            values = group[column].to_numpy(float)
            n = len(values)
            row[column] = values.mean()
            row[f"{column}_ci"] = t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
        rows.append({**row, "diverged": int(group["diverged"].sum())})
    return pd.DataFrame(rows)


def to_markdown(summary: pd.DataFrame) -> str:
    """The table of a :func:`summarise`, as Markdown whose columns also line up in a terminal."""
    cells = [list(_HEADINGS.values())]
    for _, row in summary.iterrows():
        numbers = [_with_interval(row[column], row[f"{column}_ci"]) for column in SUMMARISED]
        cells.append([row["policy"], pair_registry.label(row["pair"]), *numbers, f"{row['diverged']}/{row['n_seeds']}"])
    widths = [max(len(line[k]) for line in cells) for k in range(len(_HEADINGS))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in cells]
    lines = [f"| {' | '.join(line)} |" for line in padded]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _with_interval(mean: float, half_width: float) -> str:
    if np.isnan(mean):
        return "–"
    return f"{mean:z.3f}" if np.isnan(half_width) else f"{mean:z.3f} ± {half_width:.3f}"
