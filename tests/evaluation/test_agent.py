"""What evaluation asks of an agent: what one leaves out has a default, what it has is kept."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from agents.opponents import Schedule
from l2o_env import evaluate
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.agent import completed
from l2o_env.evaluation.rollout import Step, run_episodes
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.tiny import TINY

CONFIG = EnvConfig(**{**TINY, "pairs": ("tiny",)})


class _Least:
    """Has no more than an agent needs: rates that stay as they are."""

    output: Literal["action", "rates"] = "rates"

    def act(self, observations: NDArray[np.float32], state: Any, deterministic: bool) -> tuple[NDArray[Any], Any]:
        return np.full((len(observations), 3), 0.02), state


class _More(_Least):
    """Has what an agent may have, without deriving from a base class of ours."""

    config_overrides = {"random_init": True}

    def check_env(self, env_config: EnvConfig) -> None:
        if not env_config.random_init:
            raise ConfigError("it starts from random weights")

    def check_layers(self, n_layers: int) -> None:
        if n_layers != 3:
            raise ConfigError("three layers are enough")

    def describe(self, observations: NDArray[np.float32], state: Any, actions: NDArray[Any]) -> dict[str, Any]:
        return {"log_prob": np.zeros_like(actions)}


def test_what_an_agent_leaves_out_has_defaults() -> None:
    agent = completed(_Least())
    assert (agent.output, dict(agent.config_overrides)) == ("rates", {})
    agent.check_env(CONFIG)
    agent.check_layers(3)
    observations = np.zeros((2, 60), np.float32)
    rates, state = agent.act(observations, "state", True)
    assert rates.shape == (2, 3) and state == "state"
    assert agent.describe(observations, state, rates) == {}


def test_what_an_agent_has_is_kept() -> None:
    agent = completed(_More())
    assert agent.config_overrides == {"random_init": True}
    with pytest.raises(ConfigError, match="it starts from random weights"):
        agent.check_env(CONFIG)
    with pytest.raises(ConfigError, match="three layers are enough"):
        agent.check_layers(4)
    assert set(agent.describe(np.zeros((2, 60), np.float32), None, np.zeros((2, 3)))) == {"log_prob"}


def test_our_own_agents_are_complete() -> None:
    schedule = Schedule("s", 0.02)
    assert completed(schedule) is schedule


def test_agents_of_a_user_are_evaluated_like_ours(tiny: str) -> None:
    agents = {"least": _Least(), "more": _More(), "ours": Schedule("ours", 0.02)}
    frame = evaluate(agents, [tiny], 2, CONFIG).set_index("policy")
    values = frame["v_end"].groupby("policy", sort=False).apply(list)
    assert values["least"] == values["ours"] != values["more"]  # which begins with other weights


def test_what_it_tells_of_its_actions_is_recorded(tiny: str) -> None:
    steps: list[Step] = []
    for agent in (_More(), _Least()):
        run_episodes(Syn2RealVectorEnv(2, **TINY), agent, seeds=[1, 2], on_step=steps.append)
    told = ["log_prob" in step.info for step in steps]
    assert told == [False, True, True, True, False, False, False, False]  # nothing at a reset
    assert not any("action" in step.info for step in steps)  # rates are no actions
