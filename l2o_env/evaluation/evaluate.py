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
from l2o_env.errors import ConfigError, require_integer
from l2o_env.evaluation.agent import AgentLike, completed, settings_for
from l2o_env.evaluation.rollout import (
    MAX_OPTIMIZEES,
    Outcome,
    Progress,
    Step,
    episode_seeds,
    reporter,
    run_episodes,
)
from l2o_env.inner.network_checks import check_pair, model_maker
from l2o_env.models.base import Optimizee, new_generator
from l2o_env.vector_env import Syn2RealVectorEnv

StepCallback = Callable[[str, str, int, NDArray[np.float32], dict[str, Any]], None]
"""Called after each reset and step with policy, pair, step (0: the reset), observations ``(N, ...)`` and info.

``info["seed"]`` is the seed of each row, ``info["sampled"]`` tells whether its actions are, and ``info["_lr"]`` (or any
other mask) tells the rows that count. More than 16 seeds come as several populations.
"""
COLUMNS = (
    "policy", "pair", "seed", "v_start", "v_end", "v_return", "real_accuracy", "proxy_accuracy", "validation_accuracy",
    "updates", "diverged", "return",
)  # fmt: skip
"""Columns of :func:`evaluate`: V at the start, at the end (of the last finite weights, if the episode diverged) and
their difference; accuracy on the real target, of the proxy's head on the proxy's test images, and on the held-out
synthetic images; updates made; whether it diverged; sum of the rewards. Without target images the real accuracy is NaN,
without proxy test images that of the proxy's head."""
CLASS_COLUMN = "real_accuracy_class_{}"
"""Columns of the accuracy on each class of the target; NaN for a class that a pair does not have."""


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
    ``Syn2RealEnv(...).reset(seed=s)`` with a seed of the table makes the same episode again. What an agent may have
    beside ``act`` and ``output`` is in :class:`l2o_env.evaluation.agent.BaseAgent`: its ``config_overrides`` take the
    place of settings of `config`.

    Args:
        agents: Agents by the name that the table gives them.
        pairs: Names of pairs.
        n_seeds: Episodes of each policy on each pair.
        config: Settings of the environment; ``pairs`` and ``common_random_numbers`` are not read.
        seed: Seed of the evaluation seeds.
        deterministic: Whether agents take their most likely action.
        per_class: Whether the columns ``CLASS_COLUMN.format(k)`` are wanted too.
        progress: Called after each step with steps made and planned; episodes that diverge make fewer.
        on_step: See ``StepCallback``.

    Returns:
        One row per policy, pair and seed, with the columns ``COLUMNS``.

    Raises:
        ConfigError: Before anything runs, if there is nothing to evaluate, a pair is unknown, or agents, pairs and
            settings do not go together (see :func:`check_runs`).
    """
    names = [pairs] if isinstance(pairs, str) else list(pairs)
    _check_input(agents, names, n_seeds)
    runs, batches = check_runs(agents, names, config), _batches(episode_seeds(seed, "evaluation", n_seeds))
    frames, done, total = [], 0, sum(run.n_steps for run in runs) * len(batches)
    for run, venv in _populations(runs, len(batches[0].seeds)):
        for batch in batches:
            report = reporter(progress, done, total, f"{run.policy} on {pair_registry.label(run.pair)}")
            observe = _observer(run, batch, on_step, report, sampled=not deterministic)
            frames.append(_run_batch(run, batch, venv, deterministic, per_class, observe))
            report(run.n_steps)
            done += run.n_steps
    return pd.concat(frames, ignore_index=True)


def _check_input(agents: Mapping[str, AgentLike], pairs: Sequence[str], n_seeds: int) -> None:
    require_integer("n_seeds", n_seeds)
    if not agents or not pairs:
        raise ConfigError(f"Got {len(agents)} agents and {len(pairs)} pairs to evaluate; expected at least one each.")
    for name in pairs:
        pair_registry.check(name)


class _Batch(NamedTuple):
    """The seeds of one population's rows, of which the first `n` count: the others fill it up."""

    seeds: list[int]
    n: int


def _batches(seeds: list[int]) -> list[_Batch]:
    """Splits seeds evenly into populations of one size, because one of another size would be built anew."""
    n_batches = -(-len(seeds) // MAX_OPTIMIZEES)
    size = -(-len(seeds) // n_batches)
    chunks = [seeds[i : i + size] for i in range(0, len(seeds), size)]
    return [_Batch(chunk + chunk[-1:] * (size - len(chunk)), len(chunk)) for chunk in chunks]


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
        ConfigError: If an agent was trained for actions that mean something else or for another number of layer
            groups, or a pair lacks what the settings need.
    """
    runs = []
    for pair in pairs:
        built = pair_registry.make(pair)
        models: dict[Any, Optimizee] = {}
        for policy, agent in agents.items():
            common = replace(config, pairs=(pair,), common_random_numbers=False, feature_dropout=0.0)
            settings = settings_for(agent, common)
            maker = model_maker(built, settings)
            if maker not in models:  # large networks take a while to make
                models[maker] = maker(new_generator(0))
            model = models[maker]
            check_pair(built, model, settings)
            check_agent(policy, agent, settings, built.layout.n_layers, pair)
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
    """Raises ConfigError unless an agent fits an environment, by its ``check_env`` and ``check_layers``.

    Args:
        policy: What the error calls the agent.
        agent: The agent.
        config: Settings of the environment.
        n_layers: Layer groups of the pair's network.
        pair: What the error calls the pair.
    """
    try:
        completed(agent).check_env(config)
        completed(agent).check_layers(n_layers)
    except ConfigError as error:
        raise ConfigError(f"{policy!r} cannot run on the pair {pair!r}: {error}") from error


def _observer(
    run: Run, batch: _Batch, on_step: StepCallback | None, report: Callable[[int], None], *, sampled: bool
) -> Callable[[Step], None]:
    """Passes the steps of a rollout on, with what a recorder wants to know besides."""
    counts = np.arange(len(batch.seeds)) < batch.n

    def observe(step: Step) -> None:
        report(step.number)
        if on_step is not None:
            info = {key: value & counts if key.startswith("_") else value for key, value in step.info.items()}
            info |= {"seed": np.array(batch.seeds), "_seed": step.running & counts}
            info["reward"] = step.rewards
            info |= {"sampled": np.full(len(counts), sampled), "_sampled": info["_seed"]}
            on_step(run.policy, run.pair, step.number, step.observations, info)

    return observe


def _run_batch(
    run: Run,
    batch: _Batch,
    venv: Syn2RealVectorEnv,
    deterministic: bool,
    per_class: bool,
    observe: Callable[[Step], None],
) -> pd.DataFrame:
    """One episode of each seed of a batch, as rows of the table."""
    pair = venv.episodes.population.pairs[0]
    outcome = run_episodes(
        venv,
        run.agent,
        seeds=batch.seeds,
        deterministic=deterministic,
        splits=[split for split in ("target", "proxy_test") if getattr(pair, split) is not None],
        per_class=per_class and pair.target is not None,
        on_step=observe,
    )
    return _frame(run, batch.seeds, outcome).iloc[: batch.n]


def _frame(run: Run, seeds: list[int], outcome: Outcome) -> pd.DataFrame:
    unknown = np.full(len(seeds), np.nan)  # of one value pandas would make a column of objects
    columns = {
        "policy": run.policy,
        "pair": run.pair,
        "seed": seeds,
        "v_start": outcome.v_start,
        "v_end": outcome.v_end,
        "v_return": outcome.v_end - outcome.v_start,
        "real_accuracy": outcome.accuracy.get("target", unknown),
        "proxy_accuracy": outcome.accuracy.get("proxy_test", unknown),
        "validation_accuracy": outcome.validation_accuracy,
        "updates": outcome.updates,
        "diverged": outcome.diverged,
        "return": outcome.returns,
    }
    frame = pd.DataFrame(columns, columns=list(COLUMNS))
    if outcome.class_accuracy is not None:
        for k, values in enumerate(outcome.class_accuracy.T):
            frame[CLASS_COLUMN.format(k)] = values
    return frame
