"""A fine-tuning by a policy is an episode of the environment, with its best weights kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from l2o_env import ConfigError, EnvConfig
from l2o_env.training.fine_tuning import FineTuning
from l2o_env.training.state_files import read_state, write_state
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.tiny import TINY
from tests.training.loops import policy


def test_it_is_an_episode(tiny: str) -> None:
    agent, venv = policy("sgd"), Syn2RealVectorEnv(1, **TINY)
    observation, info = venv.reset(seed=[3])
    run, state, values = FineTuning(EnvConfig(**TINY), agent, seed=3), None, [float(info["value"][0])]
    while not run.ended:
        action, state = agent.act(observation, state, True)
        observation, _, _, _, info = venv.step(action)
        found = run.advance()
        np.testing.assert_array_equal(found["lr"], info["lr"])
        np.testing.assert_array_equal(run.observation, observation)
        values.append(float(info["value"][0]))
    assert (run.steps, run.updates) == (3, 7)
    best = run.best()
    assert best["value"] == max(values)
    assert float(run.venv.episodes.accuracy("validation")[0]) == pytest.approx(best["val_accuracy"])


@pytest.mark.parametrize("implementation", ["stacked", "looped"])
@pytest.mark.parametrize("guidance", ["kl", "csg", "si"])
def test_it_goes_on_from_a_file_as_if_it_had_never_stopped(
    tiny: str, tmp_path: Path, guidance: str, implementation: str
) -> None:
    settings = {**TINY, "guidance": guidance, "csg_queue": 16, "csg_dim": 4, "implementation": implementation}
    config = EnvConfig(**settings)
    whole, first, second = (FineTuning(config, policy("sgd"), seed=3) for _ in range(3))
    while not whole.ended:
        whole.advance()
    first.advance()
    write_state(first.get_state(), tmp_path / "state")
    second.set_state(read_state(tmp_path / "state"))
    while not second.ended:
        second.advance()
    weights = [run.venv.episodes.population.get_state()["weights"] for run in (whole, second)]
    torch.testing.assert_close(*weights, rtol=0, atol=0)
    assert whole.best() == second.best()


def test_an_agent_that_does_not_fit_is_refused(tiny: str) -> None:
    with pytest.raises(ConfigError, match="was trained with"):
        FineTuning(EnvConfig(**TINY), policy("adamw"), seed=0)
