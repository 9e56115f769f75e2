"""Settings of REINFORCE that cannot work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents.algorithms import PRESETS, ReinforceConfig
from l2o_env.errors import ConfigError


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("noise_correlation", 1.0, r"noise_correlation is 1\.0; expected a number in \[0, 1\)\."),
        ("hidden_size", 0, r"hidden_size is 0; expected an integer >= 1\."),
        ("n_steps", 0, r"n_steps is 0; expected an integer >= 1\."),
        ("n_knots", 1, r"n_knots is 1; expected 0 \(no table\) or an integer >= 2\."),
        ("ent_coef", -0.1, r"ent_coef is -0\.1; expected a number >= 0, at most"),
        ("averaged_share", 2, r"averaged_share is 2; expected a number in \[0, 1\]\."),
        ("learning_rate", 0.0, r"learning_rate is 0\.0; expected a number > 0, at most"),
        ("target_kl", 0.0, r"target_kl is 0\.0; expected a number > 0, or none\."),
    ],
)
def test_bad_settings_are_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ReinforceConfig(**{key: value})


def test_integers_of_numpy_are_kept_as_pythons() -> None:
    config = ReinforceConfig(hidden_size=np.int64(8), n_steps=np.int64(5))  # type: ignore[arg-type]
    assert (type(config.hidden_size), type(config.n_steps)) == (int, int)


def test_asgs_preset_is_what_is_known_of_its_training() -> None:
    asg = PRESETS["asg"]
    assert (asg.gamma, asg.baseline, asg.optimizer, asg.n_steps, asg.per_layer_heads) == (0.0, "none", "sgd", 5, True)
    assert PRESETS["default"] == ReinforceConfig()
