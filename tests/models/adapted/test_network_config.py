"""What a network's settings may be."""

from __future__ import annotations

import pytest

from l2o_env.errors import ConfigError
from l2o_env.models.adapted.network_config import NetworkConfig


def test_a_mode_of_batch_statistics_that_there_is_not_is_told() -> None:
    assert NetworkConfig().batchnorm == "frozen"
    assert NetworkConfig(batchnorm="trained").batchnorm == "trained"
    with pytest.raises(ConfigError, match=r"Unknown batchnorm 'frosen'\. Did you mean 'frozen'"):
        NetworkConfig(batchnorm="frosen")  # type: ignore[arg-type]
