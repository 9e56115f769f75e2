"""One fine-tuning run of a network by a policy, window by window: an episode of the environment that can be kept."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2o_env.config import EnvConfig
from l2o_env.evaluation.agent import BaseAgent, settings_for
from l2o_env.vector_env import Syn2RealVectorEnv


class FineTuning:
    """Fine-tunes one network, and keeps the weights that were best on the held-out synthetic images.

    Args:
        config: Settings; one pair.
        agent: Sets the rates, always by its most likely action.
        seed: Seed of the new head and of the batches.

    Raises:
        ConfigError: If the agent does not fit the settings or the network.
    """

    def __init__(self, config: EnvConfig, agent: BaseAgent, seed: int) -> None:
        config = settings_for(agent, config)
        agent.check_env(config)
        self.config, self.seed, self._agent = config, seed, agent
        self.venv = Syn2RealVectorEnv(1, **asdict(config))
        agent.check_layers(len(self.venv.layer_names))
        self._memory: Any = None
        observation, self.info = self.venv.reset(seed=[seed])
        self._observations: list[NDArray[np.float32]] = [observation]
        self._best = self._kept()
        self.ended = False

    @property
    def steps(self) -> int:
        """Windows that were made."""
        return len(self._observations) - 1

    @property
    def observation(self) -> NDArray[np.float32]:
        """What the last window ended with, ``(1, n)``."""
        return self._observations[-1]

    @property
    def updates(self) -> int:
        """Updates that were made."""
        return int(self.info["updates"][0])

    def advance(self) -> dict[str, Any]:
        """Makes a window.

        Returns:
            What the environment says of it, with what a recording needs besides.
        """
        chosen, self._memory = self._agent.act(self._observations[-1], self._memory, True)
        step = self.venv.step_rates if self._agent.output == "rates" else self.venv.step
        observation, reward, ended, _, self.info = step(chosen)
        self._observations.append(observation)
        self.ended = bool(ended[0])
        if not self.info["diverged"][0] and self.info["value"][0] > self._best["value"]:
            self._best = self._kept()
        actions = {} if self._agent.output == "rates" else {"action": np.asarray(chosen, np.float64)}
        seeds = {"seed": np.array([self.seed]), "_seed": np.ones(1, np.bool_), "sampled": np.zeros(1, np.bool_)}
        return {**self.info, "reward": reward, **actions, **seeds}

    def _kept(self) -> dict[str, Any]:
        measured = {key: float(self.info[key][0]) for key in ("value", "val_ce", "val_kl", "val_accuracy")}
        return {**measured, "updates": self.updates, "population": self.venv.episodes.population.get_state()}

    def best(self) -> dict[str, float]:
        """Puts the best weights in place of the last ones; what was measured of them on the validation images."""
        self.venv.episodes.population.set_state(self._best["population"])
        return {key: value for key, value in self._best.items() if key != "population"}

    def get_state(self) -> dict[str, Any]:
        """Everything: restoring it and going on equals never having stopped."""
        state = self.venv.get_state()
        return {
            "environment": {**state, "history": [[]]},  # which pictures of the environment need, and nothing else
            "observations": self._observations,
            "info": {key: value for key, value in self.info.items() if value.dtype != object},
            "best": self._best,
            "ended": self.ended,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes up what :meth:`get_state` returned, in a run of the same settings, agent and seed."""
        self.venv.set_state(state["environment"])
        self._observations, self.info = list(state["observations"]), dict(state["info"])
        self._best, self.ended = state["best"], state["ended"]
        self._memory = None
        for observation in self._observations[:-1]:  # what the agent remembers comes of what it has seen
            _, self._memory = self._agent.act(observation, self._memory, True)
