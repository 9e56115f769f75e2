"""Threads: forked processes compute with one, as whoever starts us may have set nothing at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
