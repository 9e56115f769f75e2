"""Importing the package is cheap: nothing heavy comes along, nothing is built."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("matplotlib", "sklearn", "pandas", "stable_baselines3", "numba", "PIL", "tensorboard", "pyarrow", "scipy")

SCRIPT = f"""
import gc, random, sys
import numpy as np
import torch
loaded = set(sys.modules)
states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
import gymnasium
import l2o_env
print([name for name in {HEAVY} if name in sys.modules and name not in loaded])
import l2o_env.env, l2o_env.vector_env
print([name for name in {HEAVY} if name in sys.modules and name not in loaded])
from l2o_env import pairs
assert len(pairs.names("train")) >= 6 and len(pairs.names("test")) >= 4
assert not any(type(thing) is pairs.Pair for thing in gc.get_objects()), "a pair was built"
assert "l2o_env/Syn2Real-v0" in gymnasium.registry
assert torch.equal(states[0], torch.get_rng_state()) and random.getstate() == states[2]
assert np.array_equal(states[1], np.random.get_state()[1])
"""


def test_importing_package_and_environments_loads_nothing_heavy_and_builds_nothing() -> None:
    found = subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == ["[]", "[]"]
