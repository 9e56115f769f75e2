"""TorchRL on several environments at once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.clients.scripts import STAND_IN, run

SCRIPT = """
import gymnasium as gym
from gymnasium.vector import AutoresetMode
from torchrl.envs import GymEnv, GymWrapper, ParallelEnv, check_env_specs

import l2o_env

ID, SETTINGS = "l2o_env/Syn2Real-v0", {"pairs": "glyphs-digits", "budget": 60}


def main():
    for mode in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED):
        population = gym.make_vec(ID, 3, "vector_entry_point", autoreset_mode=mode, **SETTINGS)
        env = GymWrapper(population)
        check_env_specs(env)
        print(mode.name, tuple(env.rollout(4)["next", "reward"].shape))
    for make in (lambda: GymEnv(ID, num_envs=2, **SETTINGS), lambda: ParallelEnv(2, lambda: GymEnv(ID, **SETTINGS))):
        env = make()
        check_env_specs(env)
        print(type(env).__name__, tuple(env.rollout(4)["next", "reward"].shape))
        env.close()


if __name__ == "__main__":
    main()
"""


def test_populations_and_processes_have_right_specs(tmp_path: Path) -> None:
    pytest.importorskip("torchrl")
    (tmp_path / "script.py").write_text(STAND_IN + SCRIPT, encoding="utf-8")
    printed = [line for line in run([sys.executable, "script.py"], tmp_path).splitlines() if line.endswith("1)")]
    assert printed == ["SAME_STEP (3, 4, 1)", "DISABLED (3, 4, 1)", "TransformedEnv (2, 4, 1)", "ParallelEnv (2, 4, 1)"]
