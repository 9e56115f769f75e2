"""What all agents have: SB3's predict, and the checks before learning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.base import Agent, Hooks, Learner, Record
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.tiny import register_tiny_deep

OBSERVATIONS = np.zeros((2, 3), np.float32)


class _Counter(Agent):
    """Counts the calls of each row, as an agent with a memory does."""

    def act(self, observations: np.ndarray, state: Any, deterministic: bool) -> tuple[np.ndarray, Any]:
        counts = (np.zeros(len(observations)) if state is None else state) + 1
        return counts[:, None], counts

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def forget(self, state: Any, rows: np.ndarray) -> Any:
        return np.where(rows, 0, state)


class _Learner(_Counter, Learner):
    """Tells what it was asked to do, in place of learning; runs on three layer groups and `log` actions."""

    episodes = 0

    def check_env(self, env_config: EnvConfig) -> None:
        if env_config.action != "log":
            raise ConfigError("other actions")

    def check_layers(self, n_layers: int) -> None:
        if n_layers != 3:
            raise ConfigError("other layers")

    def _train(self, venv: Syn2RealVectorEnv, episodes: int, pairs: Sequence[str], hooks: Hooks) -> None:
        self.episodes += episodes
        hooks.callback({"pairs": tuple(pairs)})


def test_predict_forgets_the_rows_whose_episode_begins() -> None:
    agent, batch = _Counter(), OBSERVATIONS
    _, state = agent.predict(batch)
    counts, state = agent.predict(batch, state, np.array([False, True]))
    assert counts.tolist() == [[2], [1]]
    counts, state = agent.predict(batch, state, np.array([False, False]))
    assert counts.tolist() == [[3], [2]]
    counts, _ = agent.predict(batch, state, np.array([True, True]))
    assert counts.tolist() == [[1], [1]]


def test_predict_takes_one_observation_or_a_batch() -> None:
    assert _Counter().predict(OBSERVATIONS)[0].tolist() == [[1], [1]]
    assert _Counter().predict(OBSERVATIONS[0])[0].tolist() == [1]


def test_an_agent_with_a_state_has_to_say_how_to_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(_Counter, "forget")
    _, state = _Counter().predict(OBSERVATIONS)
    with pytest.raises(NotImplementedError, match="_Counter keeps a state and does not say how to forget"):
        _Counter().predict(OBSERVATIONS, state, np.array([True, False]))


def test_learning_begins_where_the_policy_fits_the_population(make_vec: Callable[..., Syn2RealVectorEnv]) -> None:
    records: list[Record] = []
    agent = _Learner()
    assert agent.learn(make_vec(2), 4, pairs=["a"], callback=records.append) is agent
    assert agent.learn(make_vec(2), 4).episodes == 8
    assert records == [{"pairs": ("a",)}]
    with pytest.raises(ConfigError, match="other actions"):
        agent.learn(make_vec(2, action="relative"), 4)
    assert agent.episodes == 8


def test_learning_needs_networks_that_the_policy_runs_on(make_vec: Callable[..., Syn2RealVectorEnv]) -> None:
    with pytest.raises(ConfigError, match="other layers"):
        _Learner().learn(make_vec(2, pairs=register_tiny_deep()), 4)


def test_it_says_what_it_is() -> None:
    assert repr(_Counter()) == "_Counter()"
    agent = _Learner()
    agent.name, agent.action_settings = "mine", {"action": "log"}
    assert repr(agent) == "_Learner(name='mine', action='log', episodes=0)"
