"""Importing the agents is cheap: neither SB3 nor PyTorch comes along, and SB3 with none but its own agents."""

from __future__ import annotations

import subprocess
import sys

import pytest

SB3 = ("stable_baselines3", "sb3_contrib")


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import agents", ("torch", *SB3)),
        ("import agents.algorithms, agents.opponents, agents.reinforce, agents.asg, agents.sb3", ("torch", *SB3)),
        ("from agents import ALGORITHMS, configure, load, make_learner, trained_on", SB3),
        ("from agents.opponents import default_opponents, load, tune_per_layer, tune_uniform", SB3),
        ("from agents.reinforce import Reinforce; from agents.asg import AsgAgent", SB3),
    ],
)
def test_what_an_import_does_not_load(statement: str, absent: tuple[str, ...]) -> None:
    script = f"import sys; {statement}; print([name for name in {absent} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_what_the_faces_name_is_there() -> None:
    import agents
    import agents.algorithms
    import agents.asg
    import agents.opponents
    import agents.reinforce
    import agents.sb3

    for room in (agents, agents.algorithms, agents.asg, agents.opponents, agents.reinforce, agents.sb3):
        assert room.__all__ and all(getattr(room, name) is not None for name in room.__all__)
