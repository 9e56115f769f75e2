"""Settings of SB3's algorithms that cannot work."""

from __future__ import annotations

import pytest

from agents.algorithms import configure
from agents.algorithms.sb3_config import SACConfig
from l2o_env.errors import ConfigError


def test_bad_settings_are_refused() -> None:
    for name, value, told in (
        ("gamma", 1.5, r"gamma is 1\.5; expected a number in \[0, 1\]"),
        ("learning_rate", 0, r"learning_rate is 0\.0; expected a number > 0"),
        ("noise_std", -1, "Unknown hyper-parameter"),
        ("learning_starts", -1, "learning_starts is -1; expected a number >= 0"),
        ("net_arch", [0], r"net_arch is \(0,\); expected widths from 1 to"),
        ("ent_coef", "much", "ent_coef is 'much'; expected a number, auto, or auto_0.1"),
    ):
        with pytest.raises(ConfigError, match=told):
            configure("sac", {name: value})
    assert configure("sac", {"ent_coef": "auto"}) == SACConfig(ent_coef="auto")
