"""Saved opponents: what is written is read again, and what is said of other files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agents.opponents import PerLayer, RandomRates, Schedule, load
from agents.opponents.files import KINDS
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


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no schedule\.json"):
        load(tmp_path)
    for text, message in (
        ("{", "is damaged"),
        ('{"agent": "Scedule"}', "Did you mean 'Schedule'"),
        ('{"agent": "Schedule", "speed": 1}', "does not describe a Schedule"),
    ):
        (tmp_path / "schedule.json").write_text(text)
        with pytest.raises(ConfigError, match=message):
            load(tmp_path)
