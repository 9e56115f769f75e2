"""What ``l2o audit`` judges values by: runs with random rates, and with schedules and policies that may be good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from l2o_env.config import EnvConfig
from l2o_env.evaluation.agent import AgentLike, settings_for
from l2o_env.evaluation.rollout import MAX_OPTIMIZEES, Progress, Step, episode_seeds, run_episodes, seed_sequence
from l2o_env.vector_env import Syn2RealVectorEnv

from ..base import Agent
from ..opponents import FixedRates, PerLayer
from ..opponents.candidates import RowByRow
from ..opponents.recipes import RECIPES
from ..opponents.shapes import ShapeName

if TYPE_CHECKING:
    import pandas as pd

GOOD_SEEDS = 2
"""Seeds of a candidate, whose values and accuracies are averaged: good ones differ by less than seeds do."""
SHAPE_NAMES: tuple[ShapeName, ...] = get_args(ShapeName)
_TILT = (0.06, 2.0)
"""Rate of the first layer group, as a share of the head's."""
_MEASURED = ("val_ce", "val_kl", "shifted_accuracy", "shifted_kl")
_JITTER = 0.2
"""Standard deviation of a layer's rate around that line, in decades."""


def random_runs(config: EnvConfig, n: int, seed: int, progress: Progress | None = None) -> pd.DataFrame:
    """Fine-tunes with random rates that stay as they are.

    Args:
        config: Settings of the environment; its first pair is used.
        n: Number of runs. All get rates and a seed of their own, the same ones for every pair and guidance.
        seed: Seed of rates and runs.
        progress: Called after each step.

    Returns:
        One row per run: ``val_ce``, ``val_kl``, ``shifted_kl`` (nats), ``shifted_accuracy``, ``validation_accuracy``,
        ``real_accuracy``, ``diverged``, and ``lr_<layer>``.
    """
    venv = _population(config, n)
    rng = np.random.default_rng(seed_sequence(seed, "audit rates"))
    limits = np.log(config.lr_min), np.log(config.lr_max)
    rates = np.exp(rng.uniform(*limits, (n, len(venv.layer_names))))
    found = _runs(venv, [FixedRates(row[None]) for row in rates], episode_seeds(seed, "audit", n), progress)
    for i, name in enumerate(venv.layer_names):
        found[f"lr_{name}"] = rates[:, i]
    return found


def good_runs(
    config: EnvConfig, n: int, seed: int, policies: Sequence[Agent] = (), progress: Progress | None = None
) -> pd.DataFrame:
    """Fine-tunes with what may be good: schedules, what people use, and trained policies.

    Args:
        config: Settings of the environment; its first pair is used.
        n: Random schedules: rates that rise or fall from layer to layer, times a shape over time.
        seed: Seed of schedules and runs.
        policies: Trained policies, such as all checkpoints of a training.
        progress: Called after each step.

    Returns:
        One row per candidate, with means over ``GOOD_SEEDS`` seeds: the columns of :func:`random_runs` but the rates,
        and ``candidate``.
    """
    import pandas as pd

    candidates: list[tuple[str, AgentLike, EnvConfig]] = []
    n_layers = len(_population(config, 1).layer_names)
    candidates += [(each.name, each, config) for each in _schedules(config, n, n_layers, seed)]
    for name, recipe in RECIPES.items():
        candidates.append((name, recipe.schedule(name, config), config.with_optimizer(recipe.optimizer)))
    candidates += [(each.name, each, settings_for(each, config, **each.action_settings)) for each in policies]
    seeds = episode_seeds(seed, "audit good", GOOD_SEEDS)
    frames, done = [], 0
    for settings in dict.fromkeys(each for *_, each in candidates):
        group = [(name, agent) for name, agent, own in candidates if own == settings]
        rows = [(name, agent, s) for name, agent in group if agent.output == "rates" for s in seeds]
        # What keeps a state has a population of its own.
        alone = [(name, agent) for name, agent in group if agent.output != "rates"]
        for part in ([rows] if rows else []) + [[(name, agent, s) for s in seeds] for name, agent in alone]:
            venv = _population(settings, len(part))
            agents = [agent for _, agent, _ in part]
            report = None if progress is None else _share(progress, done, len(candidates) * GOOD_SEEDS, len(part))
            found = _runs(venv, agents, [s for *_, s in part], report)
            frames.append(found.assign(candidate=[name for name, *_ in part]))
            done += len(part)
    return pd.concat(frames).groupby("candidate", sort=False).mean().reset_index()


def _share(progress: Progress, done: int, total: int, n: int) -> Progress:
    """Steps of a part as runs of all."""
    return lambda step, steps, text: progress(done + n * step // steps, total, text)


def _schedules(config: EnvConfig, n: int, n_layers: int, seed: int) -> list[PerLayer]:
    """Random schedules whose rates lie in the upper half of the environment's range, in decades."""
    rng = np.random.default_rng(seed_sequence(seed, "audit schedules"))
    middle = (np.log10(config.lr_min) + np.log10(config.lr_max)) / 2
    found = []
    for k in range(n):
        head = 10 ** rng.uniform(middle - 0.1, np.log10(config.lr_max) - 0.4)
        tilt = np.exp(rng.uniform(*np.log(_TILT)))
        rates = head * np.geomspace(tilt, 1, n_layers) * 10 ** rng.normal(0, _JITTER, n_layers)
        rates = tuple(np.clip(rates, config.lr_min, config.lr_max))
        shape = SHAPE_NAMES[rng.integers(len(SHAPE_NAMES))]
        found.append(PerLayer(f"schedule {k}", rates, shape, window_share=config.window / config.budget))
    return found


def _population(config: EnvConfig, n: int) -> Syn2RealVectorEnv:
    settings = replace(config, pairs=config.pairs[:1], common_random_numbers=False, reward="transfer")
    return Syn2RealVectorEnv(min(n, MAX_OPTIMIZEES), **asdict(settings))


def _runs(
    venv: Syn2RealVectorEnv, agents: Sequence[AgentLike], seeds: Sequence[int], progress: Progress | None
) -> pd.DataFrame:
    """One run of each agent; agents that keep a state are one and the same."""
    import pandas as pd

    n, size, n_steps = len(agents), venv.num_envs, venv.episodes.n_steps()
    frames = []
    for k, start in enumerate(range(0, n, size)):
        rows = np.minimum(np.arange(start, start + size), n - 1)  # the last population is filled up with the last run
        end: dict[str, NDArray[Any]] = {key: np.zeros(size) for key in _MEASURED}

        def note(step: Step, k: int = k, end: dict[str, NDArray[Any]] = end) -> None:
            for key, values in end.items():
                values[step.ended] = step.info[key][step.ended]
            if progress is not None:
                progress(k * n_steps + step.number, -(-n // size) * n_steps, "")

        agent = RowByRow([agents[i] for i in rows]) if agents[0].output == "rates" else agents[0]
        outcome = run_episodes(venv, agent, seeds=[seeds[i] for i in rows], splits=("target",), on_step=note)
        columns = {**end, "validation_accuracy": outcome.validation_accuracy}
        columns |= {"real_accuracy": outcome.accuracy["target"], "diverged": outcome.diverged}
        frames.append(pd.DataFrame(columns).iloc[: n - start])
    return pd.concat(frames, ignore_index=True)
