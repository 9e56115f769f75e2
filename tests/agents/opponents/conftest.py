"""What the searches are tried on."""

from __future__ import annotations

from typing import Any

import pytest

from l2o_env.config import EnvConfig
from l2o_env.vector_env import Syn2RealVectorEnv


@pytest.fixture
def config(tiny: str) -> EnvConfig:
    """Settings of an episode of three windows, long enough for rates to differ."""
    return EnvConfig(pairs=(tiny,), budget=30, window=10, batch_size=8, device="cpu", optimizer="sgd")


@pytest.fixture
def episodes_run(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the episodes of each population that is run; none of them may be evaluated on the target."""
    counts: list[int] = []
    reset = Syn2RealVectorEnv.reset

    def count(self: Syn2RealVectorEnv, **keywords: Any) -> Any:
        counts.append(self.num_envs)
        return reset(self, **keywords)

    monkeypatch.setattr(Syn2RealVectorEnv, "reset", count)
    monkeypatch.setattr(Syn2RealVectorEnv, "evaluate", None)
    return counts
