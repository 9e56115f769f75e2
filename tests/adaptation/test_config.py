from __future__ import annotations

from typing import Any

import pytest

from l2o_env.adaptation import AdaptConfig
from l2o_env.errors import ConfigError


def test_shares_grow_each_round_up_to_their_ends() -> None:
    config = AdaptConfig()
    assert [round(config.portion_of(k), 3) for k in (0, 1, 6, 7)] == [0.2, 0.25, 0.5, 0.5]
    assert [round(config.source_share_of(k), 4) for k in (0, 1, 30)] == [0.065, 0.0735, 0.165]
    assert AdaptConfig(portion=0.8).portion_of(3) == 0.8


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("portion", 0.0, "portion is 0.0; expected a share in (0, 1]"),
        ("portion", 1.5, "portion is 1.5; expected a share in (0, 1]"),
        ("source_share_end", 2.0, "source_share_end is 2.0; expected a share"),
        ("rounds", 0, "rounds is 0; expected an integer >= 1"),
        ("lr", float("nan"), "lr is nan; expected a finite number"),
        ("lrent_weight", 0.0, "lrent_weight is 0.0; expected a finite number > 0"),
        ("momentum", 1.0, "momentum is 1.0; expected a number in [0, 1)"),
    ],
)
def test_what_cannot_work_is_told(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        AdaptConfig(**{key: value})
    assert message in str(error.value)
