"""Memory that is asked for before it is taken."""

from __future__ import annotations

import time

import pytest

import l2o_env
from l2o_env import pairs
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.inner.least_memory import least_bytes


def test_the_least_is_weights_order_and_batches(tiny: str) -> None:
    pair = pairs.make(tiny)
    config = EnvConfig(pairs=(tiny,), budget=6, window=3, batch_size=8)
    images = pair.train.images[0].numel()
    assert least_bytes(config, 3, pair) == 3 * 4 * (4 * pair.layout.n_weights + 6 * 8 + 8 * images)


@pytest.mark.parametrize(
    ("n", "settings"),
    [
        (1_000_000, {"batch_size": 4096}),
        (16, {"batch_size": 1_000_000, "budget": 100_000}),
        (16, {"budget": 10_000_000, "batch_size": 10_000}),
    ],
)
def test_what_no_machine_has_is_refused_at_once(tiny: str, n: int, settings: dict[str, int]) -> None:
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"take at least \S+ GiB; cpu has \S+ GiB\. Take fewer"):
        l2o_env.Syn2RealVectorEnv(n, pairs=(tiny,), device="cpu", **settings)  # type: ignore[arg-type]
    assert time.monotonic() - started < 2
