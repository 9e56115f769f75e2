"""Threads: forked processes compute with one, and small networks, as whoever starts us may have set nothing at all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from l2o_env.env import Syn2RealEnv
from l2o_env.inner import optimizees
from l2o_env.inner.workload import operations
from l2o_env.models.base import new_generator
from l2o_env.threads import n_threads, one_torch_thread
from tests.tiny import TINY, TinyNet, tiny_pair

ROOT = Path(__file__).parents[1]

FORK = """
import gymnasium, torch
from tests.tiny import TINY, register_tinies

register_tinies()
torch.set_num_threads(2)
torch.ones(2_000_000).exp().sum()  # so that the threads are there
venv = gymnasium.make_vec("l2o_env/Syn2Real-v0", num_envs=2, vectorization_mode="async", **TINY)
venv.reset(seed=0)
print(len(venv.step(venv.action_space.sample())[0]))
venv.close()
"""


def _run(code: str) -> str:
    """What a process prints that no variable tells how to use threads."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "MKL_", "KMP_"))}
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_environments_run_in_forked_processes() -> None:
    assert _run(FORK) == "2"


@pytest.fixture
def two_threads() -> Iterator[None]:
    """PyTorch has two threads in a test."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("two_threads")
def test_one_thread_of_pytorch_s_within_and_as_many_of_ours() -> None:
    with one_torch_thread():
        with one_torch_thread():
            assert (torch.get_num_threads(), n_threads()) == (1, 2)
        assert (torch.get_num_threads(), n_threads()) == (1, 2)
    assert (torch.get_num_threads(), n_threads()) == (2, 2)


@pytest.mark.usefixtures("two_threads", "tiny")
@pytest.mark.parametrize(("least", "threads"), [(1e9, {1}), (0.0, {2})])
def test_small_networks_are_computed_with_one_thread(
    monkeypatch: pytest.MonkeyPatch, least: float, threads: set[int]
) -> None:
    monkeypatch.setattr(optimizees, "PARALLEL_FROM", least)
    seen = set()

    def forward(self: TinyNet, *args: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if args[0].device.type == "cpu":
            seen.add(torch.get_num_threads())
        return plain(self, *args)

    plain = TinyNet.forward
    env = Syn2RealEnv(**TINY)
    monkeypatch.setattr(TinyNet, "forward", forward)
    env.reset(seed=0)
    env.evaluate("target")
    assert seen == threads
    assert torch.get_num_threads() == 2


def test_operations_are_those_of_convolutions_and_products() -> None:
    # Convolutions of 4 x 4 positions, 4 x 3 x 9 and 4 x 4 x 9 weights, heads of 2 and 3 classes; two operations each.
    network = TinyNet(new_generator(0)).to("meta")
    assert operations(network, tiny_pair(), 8) == 2 * 8 * (16 * (4 * 3 * 9 + 4 * 4 * 9) + 4 * (2 + 3))
