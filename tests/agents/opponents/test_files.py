"""Saved opponents: what is written is read again, and what is said of other files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from agents.opponents import PerLayer, RandomRates, Schedule, load
from agents.opponents.defaults import OPPONENTS
from agents.opponents.files import KINDS
from agents.opponents.rate_setter import RateSetter
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from tests.agents.opponents.observed import rates


def test_every_family_is_read_as_it_was_written(tmp_path: Path) -> None:
    agents = (Schedule("s", 0.1, config_overrides={"random_init": True}), PerLayer("p", (0.1, 0.2)), RandomRates("r"))
    assert {type(agent).__name__ for agent in agents} == set(KINDS)
    for agent in agents:
        agent.save(tmp_path / agent.name)
        loaded = load(tmp_path / agent.name)
        assert type(loaded) is type(agent) and loaded.settings() == agent.settings()
        assert loaded.config_overrides == agent.config_overrides
        np.testing.assert_array_equal(rates(loaded, [0.0, 0.4], 2), rates(agent, [0.0, 0.4], 2))


@pytest.mark.parametrize("overrides", [{"pairs": ["folders:backbone=os:abort"]}, {"budget": 400}, {"workers": 9}, 3])
def test_a_file_cannot_choose_pairs_or_budget(tmp_path: Path, overrides: object) -> None:
    saved = {"agent": "Schedule", "name": "s", "rate": 0.1, "config_overrides": overrides}
    (tmp_path / "schedule.json").write_text(json.dumps(saved))
    with pytest.raises(ConfigError, match="sets more of the environment than a schedule may") as error:
        load(tmp_path)
    assert "abort" not in str(error.value)


@pytest.mark.parametrize("name", OPPONENTS)
def test_the_opponents_that_come_along_are_read_as_they_were_written(tmp_path: Path, name: str) -> None:
    agent = OPPONENTS[name](name, EnvConfig(), 1)
    assert isinstance(agent, RateSetter)
    agent.save(tmp_path)
    assert load(tmp_path).settings() == agent.settings()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no schedule\.json"):
        load(tmp_path)
    for text, message in (
        ("{", "is damaged"),
        ('{"agent": "Scedule"}', "Did you mean 'Schedule'"),
        ('{"agent": "Schedule", "speed": 1}', "does not describe a Schedule: Unknown setting 'speed'"),
        ('{"agent": "Schedule", "rate": 1}', "there is no 'name'"),
        ('{"agent": "Schedule", "name": "s", "rate": [1]}', r"Schedule: rate is \[1\]; expected a number"),
        ('{"agent": "PerLayer", "name": "s", "rates": [-1]}', "Schedule|PerLayer: rates"),
        ('{"agent": ["Schedule"]}', "Unknown schedule"),
        ('{"agent": "RandomRates", "name": "%s"}' % ("x" * 10**6), "its name is"),
    ):
        (tmp_path / "schedule.json").write_text(text)
        with pytest.raises(ConfigError, match=message) as error:
            load(tmp_path)
        assert len(str(error.value)) < 500
