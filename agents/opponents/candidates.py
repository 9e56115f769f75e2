"""Candidates of a search for learning rates: one in each row of a population, judged by V.

What runs here sees only what training may see: V on the held-out synthetic images, never the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from l2o_env.config import EnvConfig
from l2o_env.evaluation.agent import AgentLike, Output
from l2o_env.evaluation.rollout import Outcome, Progress, reporter, run_episodes
from l2o_env.reward import judged_by
from l2o_env.vector_env import Syn2RealVectorEnv


class FixedRates:
    """Rates ``(N, n_layers)`` that stay as they are."""

    output: Output = "rates"

    def __init__(self, rates: NDArray[np.float64]) -> None:
        self.rates = rates

    def act(
        self, observations: NDArray[np.float32], state: None, deterministic: bool
    ) -> tuple[NDArray[np.float64], None]:
        """The rates, whatever is observed."""
        return self.rates, None


class RowByRow:
    """An agent of its own for each row of a population; they keep no state."""

    output: Output = "rates"

    def __init__(self, agents: Sequence[AgentLike]) -> None:
        self.agents = agents

    def act(
        self, observations: NDArray[np.float32], state: None, deterministic: bool
    ) -> tuple[NDArray[np.float64], None]:
        """What each agent chooses for its row."""
        rows = zip(self.agents, observations, strict=True)
        return np.concatenate([agent.act(row[None], None, deterministic)[0] for agent, row in rows]), None


class Trials:
    """Runs candidates on one pair, population by population.

    Args:
        config: Settings of the environment; ``pairs``, ``reward`` and ``common_random_numbers`` are not read.
        pair: The pair.
        n: Candidates of a population.
        n_populations: How many will be run.
        progress: Called after each step.
        text: What is going on, in words.
    """

    def __init__(
        self, config: EnvConfig, pair: str, n: int, n_populations: int, progress: Progress | None, text: str
    ) -> None:
        # The rows' seeds pair candidates, and V is read from info; another reward might read the target.
        settings = replace(config, pairs=(pair,), reward=judged_by(config), common_random_numbers=False)
        self.venv = Syn2RealVectorEnv(n, **asdict(settings))
        self._progress, self._text, self._n_populations = progress, text, n_populations
        self._done = 0

    def run(self, agent: AgentLike, seeds: Sequence[int]) -> Outcome:
        """Runs the next population, with one seed per row."""
        n_steps = self.venv.episodes.n_steps()
        report = reporter(self._progress, self._done * n_steps, self._n_populations * n_steps, self._text)
        outcome = run_episodes(self.venv, agent, seeds=seeds, on_step=lambda step: report(step.number))
        report(n_steps)
        self._done += 1
        return outcome
