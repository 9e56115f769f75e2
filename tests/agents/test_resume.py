"""A training that is cut off goes on as if nothing had happened, whatever the algorithm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.algorithms import ALGORITHMS, configure
from agents.base import Learner
from agents.factory import make_learner
from l2o_env.inner.window import Measurements, Start
from l2o_env.results.state_file import read_state, write_state
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.agents.sb3.small import SMALL

KINDS = (Measurements, Start)
EPISODES = 16


def _made(name: str, more: dict[str, Any]) -> tuple[Learner, Syn2RealVectorEnv]:
    entry = ALGORITHMS[name]
    settings = {"action": entry.forms[0], "common_random_numbers": entry.common_random_numbers, **entry.settings}
    venv = Syn2RealVectorEnv(4, pairs=("tiny", "tiny-4"), budget=12, window=4, batch_size=8, **(settings | more))
    venv.reset(seed=3)
    config = configure(name, SMALL.get(name, {}))
    return make_learner(name, venv.config, config=config, n_layers=3, seed=1), venv


class _CutOffError(Exception):
    pass


def _cut(path: Path, k: int) -> Callable[..., None]:
    """Writes the state of the k-th boundary, and ends the training at the next."""
    seen = 0

    def on_boundary(get_state: Callable[[], dict[str, Any]]) -> None:
        nonlocal seen
        seen += 1
        if seen == k:
            write_state(path, get_state(), KINDS)
        if seen == k + 1:
            raise _CutOffError

    return on_boundary


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else a == b


@pytest.mark.parametrize("more", [{}, {"lr_max": 1e6}], ids=["calm", "diverging"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_goes_on_bit_for_bit(name: str, more: dict[str, Any], tmp_path: Path, tinies: tuple[str, str]) -> None:
    if ALGORITHMS[name].path:
        pytest.importorskip("sb3_contrib")
    whole, venv = _made(name, more)
    records: list[dict[str, Any]] = []
    boundaries: list[Any] = []
    whole.learn(venv, EPISODES, pairs=venv.config.pairs, callback=records.append, on_boundary=boundaries.append)
    agent, cut_venv = _made(name, more)
    with pytest.raises(_CutOffError):
        agent.learn(
            cut_venv, EPISODES, pairs=venv.config.pairs, on_boundary=_cut(tmp_path / "state", k=len(boundaries) // 2)
        )
    agent, new_venv = _made(name, more)
    again: list[dict[str, Any]] = []
    agent.learn(
        new_venv, EPISODES, pairs=venv.config.pairs, callback=again.append, resume=read_state(tmp_path / "state", KINDS)
    )
    assert _same(agent.get_state(), whole.get_state())
    assert venv.episodes.updates_made == new_venv.episodes.updates_made
    for record in (*records, *again):
        record.pop("seconds")
    assert again and _same(again, records[-len(again) :])
