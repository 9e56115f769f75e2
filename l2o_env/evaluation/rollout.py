"""Whole episodes of an agent on a population: the one loop that evaluation and tuning share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from l2o_env.errors import ConfigError
from l2o_env.evaluation.agent import AgentLike, BaseAgent, completed
from l2o_env.vector_env import Syn2RealVectorEnv

MAX_OPTIMIZEES = 16
"""Optimizees of one population in evaluation and tuning; more gain little on a CPU."""

Progress = Callable[[int, int, str], None]
"""Called with the environment steps made, those planned, and what is going on, in words."""


def reporter(progress: Progress | None, done: int, total: int, text: str) -> Callable[[int], None]:
    """Takes the steps of one population, and reports them among those of all.

    Args:
        progress: Called with the steps; None reports nothing.
        done: Steps that were made before this population began.
        total: Steps planned, over all populations.
        text: What is going on.
    """
    if progress is None:
        return lambda step: None
    return lambda step: progress(done + step, total, text)


class Step(NamedTuple):
    """One step of a population, as a rollout's observer sees it.

    Attributes:
        number: Steps made so far in these episodes; 0 is the reset, before any update.
        running: ``(N,)``; optimizees whose episode was going on when the step began. Nothing else counts: the others
            have diverged before and do as their agent likes until the last of the population ends.
        ended: ``(N,)``; those of them that ended with this step.
        observations: What the step ended with, ``(N, n_layers * n_features)``.
        rewards: ``(N,)``.
        info: As the environment gave it, but each mask ``info["_key"]`` is `running`. After the reset also, where the
            agent has them, the ``action`` that the step was made with, its ``log_prob`` and ``entropy``, each
            ``(N, n_layers)``.
    """

    number: int
    running: NDArray[np.bool_]
    ended: NDArray[np.bool_]
    observations: NDArray[np.float32]
    rewards: NDArray[np.float64]
    info: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What one episode of each of N optimizees came to; every field is ``(N,)``.

    Attributes:
        v_start: V = -(CE_val + w KL_val) before the first update.
        v_end: V at the end; of the last finite weights if the optimizee diverged.
        returns: Sum of the rewards.
        validation_accuracy: On the held-out synthetic images, at the end.
        updates: Updates made.
        diverged: Whether the episode ended by divergence.
        accuracy: By split, the accuracy of the final weights; only of the splits that were asked for.
        class_accuracy: Recall (or intersection over union) of each class on the target, ``(N, n_classes)``, or None if
            it was not asked for.
    """

    v_start: NDArray[np.float64]
    v_end: NDArray[np.float64]
    returns: NDArray[np.float64]
    validation_accuracy: NDArray[np.float64]
    updates: NDArray[np.int64]
    diverged: NDArray[np.bool_]
    accuracy: dict[str, NDArray[np.float64]]
    class_accuracy: NDArray[np.float64] | None = None


def episode_seeds(seed: int, stream: str, n: int) -> list[int]:
    """Seeds of `n` episodes, for ``reset(seed=...)``; those of a smaller `n` are the first of a larger.

    Args:
        seed: The seed of the whole experiment.
        stream: What the episodes are for. Streams of different names have nothing in common.
        n: How many.
    """
    return [int(word) for word in seed_sequence(seed, stream).generate_state(n)]


def seed_sequence(seed: int, stream: str) -> np.random.SeedSequence:
    """The root of all randomness of one purpose; see :func:`episode_seeds`."""
    return np.random.SeedSequence([seed, int.from_bytes(stream.encode(), "little")])


def run_episodes(
    venv: Syn2RealVectorEnv,
    agent: AgentLike,
    *,
    seeds: Sequence[int] | None = None,
    deterministic: bool = True,
    splits: Sequence[str] = (),
    per_class: bool = False,
    on_step: Callable[[Step], None] | None = None,
) -> Outcome:
    """Runs one episode of each optimizee.

    The population goes on until the last episode has ended. What an optimizee that diverged earlier does in the
    meantime (the environment restarts it) counts for nothing.

    Args:
        venv: The population, with auto-reset mode ``NEXT_STEP``: it keeps the final weights of an episode until the
            next step, so that they can be evaluated.
        agent: Sets the learning rates.
        seeds: One seed per optimizee; None goes on with the population's own streams.
        deterministic: Whether the agent takes its most likely action.
        splits: Splits on which the final weights are evaluated (``"target"``, ``"proxy_test"``).
        per_class: Whether the final weights' accuracy on each class of the target is wanted.
        on_step: Called after the reset and after each step.

    Raises:
        ConfigError: If the population has another auto-reset mode.
    """
    _require_final_weights(venv)
    agent, n, state = completed(agent), venv.num_envs, None
    observations, info = venv.reset(seed=seeds)
    outcome = _unknown_outcome(venv, info["value"], splits, per_class)
    step = Step(0, np.ones(n, np.bool_), np.zeros(n, np.bool_), observations, np.zeros(n), info)
    while True:
        if on_step is not None:
            on_step(_masked(step))
        running = step.running & ~step.ended
        if not running.any():
            return outcome
        actions, next_state = agent.act(step.observations, state, deterministic)
        described = {} if on_step is None else _describe(agent, step.observations, state, actions)
        advance = venv.step_rates if agent.output == "rates" else venv.step
        observations, rewards, terminated, truncated, info = advance(actions)
        ended = running & (terminated | truncated)
        step, state = Step(step.number + 1, running, ended, observations, rewards, {**info, **described}), next_state
        outcome.returns[running] += rewards[running]
        if ended.any():
            _note_end(outcome, step, venv)


def _require_final_weights(venv: Syn2RealVectorEnv) -> None:
    if venv.autoreset_mode != AutoresetMode.NEXT_STEP:
        raise ConfigError(
            f"The population has the auto-reset mode {venv.autoreset_mode.value}; expected NextStep (the default), "
            "because the final weights of an episode are evaluated before the next one starts."
        )


def _unknown_outcome(
    venv: Syn2RealVectorEnv, v_start: NDArray[np.float64], splits: Sequence[str], per_class: bool
) -> Outcome:
    """What is known of episodes when they begin; :func:`_note_end` fills in the rest, row by row."""
    n, n_classes = venv.num_envs, venv.episodes.population.pairs[0].n_classes
    return Outcome(
        v_start=v_start.copy(),
        v_end=np.full(n, np.nan),
        returns=np.zeros(n),
        validation_accuracy=np.full(n, np.nan),
        updates=np.zeros(n, np.int64),
        diverged=np.zeros(n, np.bool_),
        accuracy={split: np.full(n, np.nan) for split in splits},
        class_accuracy=np.full((n, n_classes), np.nan) if per_class else None,
    )


def _masked(step: Step) -> Step:
    """The step as observers see it: what the environment says of optimizees that have ended before does not count."""
    return step._replace(info={key: step.running if key[0] == "_" else value for key, value in step.info.items()})


def _describe(
    agent: BaseAgent, observations: NDArray[np.float32], state: Any, actions: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """What an observer is told of the actions, with masks as the environment's info has them."""
    described: dict[str, NDArray[Any]] = {}
    if agent.output == "action":
        described["action"] = np.asarray(actions, np.float64)
    described |= agent.describe(observations, state, actions)
    return described | {f"_{key}": np.ones(len(observations), np.bool_) for key in described}


def _note_end(outcome: Outcome, step: Step, venv: Syn2RealVectorEnv) -> None:
    """Fills in the rows whose episode ended with a step, from the weights that they ended with."""
    measured = [
        (outcome.v_end, step.info["value"]),
        (outcome.validation_accuracy, step.info["val_accuracy"]),
        (outcome.updates, step.info["updates"]),
        (outcome.diverged, step.info["diverged"]),
        *((accuracy, venv.evaluate(split)) for split, accuracy in outcome.accuracy.items()),
    ]
    if outcome.class_accuracy is not None:
        measured.append((outcome.class_accuracy, venv.class_accuracy("target")))
    for column, values in measured:
        column[step.ended] = values[step.ended]
