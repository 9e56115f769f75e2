"""The opponents that every policy is compared with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from agents.base import Agent
from agents.opponents import OPPONENTS, default_opponents, load
from l2o_env.config import EnvConfig
from tests.agents.opponents.observed import rates


def test_every_opponent_is_an_agent_that_survives_saving(tmp_path: Path) -> None:
    opponents = default_opponents(EnvConfig(), seed=3)
    assert set(opponents) == set(OPPONENTS) == {
        "adamw-cosine", "adamw-warmup-cosine", "adamw-layer-decay", "sgd-warmup-cosine", "prodigy", "schedule-free",
        "uniform", "small-backbone", "asg-sgd", "cosine", "discriminative", "frozen-backbone", "random-init", "random",
    }  # fmt: skip
    for name, agent in opponents.items():
        assert isinstance(agent, Agent)
        assert (agent.name, agent.output) == (name, "rates")
        agent.save(tmp_path / name)
        loaded = load(tmp_path / name)
        fresh = default_opponents(EnvConfig(), seed=3)[name]
        np.testing.assert_array_equal(rates(loaded, [0.0, 0.4]), rates(fresh, [0.0, 0.4]))
    overrides = {name: agent.config_overrides for name, agent in opponents.items()}
    assert overrides["random-init"]["random_init"]
    of_each = {name: replace(EnvConfig(), **changes).optimizer for name, changes in overrides.items()}
    assert [of_each[name] for name in ("adamw-layer-decay", "prodigy", "schedule-free")] == [
        "adamw",
        "prodigy",
        "schedule_free",
    ]
    assert {of_each[name] for name in ("sgd-warmup-cosine", "uniform", "asg-sgd", "random-init")} == {"sgd"}
    assert replace(EnvConfig(optimizer="adamw"), **overrides["uniform"]).weight_decay == 5e-4


def test_their_rates_by_hand() -> None:
    """At the start of an episode of 20 windows, and random ones within the limits of the settings."""
    opponents = default_opponents(EnvConfig(lr_min=1e-3, lr_max=2e-3))
    warmup = 0.025 / 0.1  # the middle of the first window, as a share of the warm-up
    poly = 0.1 * (0.01 + 0.99 * warmup**2) * 0.975**0.9
    for name, expected in {
        "uniform": [0.02, 0.02, 0.02],
        "small-backbone": [0.003, 0.003, 0.1],
        "asg-sgd": [poly / 10, poly / 10, poly],
        "cosine": [0.05 * warmup] * 3,
        "discriminative": [0.1 / 2.6**2, 0.1 / 2.6, 0.1],
        "frozen-backbone": [0, 0, 0.1],
        "random-init": [0.02, 0.02, 0.02],
    }.items():
        np.testing.assert_allclose(rates(opponents[name], [0.0]), [expected], err_msg=name)
    drawn = rates(opponents["random"], [0.0] * 20)
    assert drawn.min() >= 1e-3 and drawn.max() <= 2e-3
