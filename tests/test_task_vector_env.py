"""A population that goes through tasks: another network at each reset, the same tasks from the same seed."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from agents.algorithms.reinforce_config import ReinforceConfig
from agents.reinforce import Reinforce
from l2o_env.errors import ConfigError
from l2o_env.task_vector_env import TaskVectorEnv
from l2o_env.tasks import TaskRanges
from l2o_env.vector_env import Syn2RealVectorEnv

pytestmark = pytest.mark.usefixtures("untrained")
FEW = TaskRanges(
    ("glyphs-digits",), networks=("narrow", "deep"), budget=(4, 6), batch_size=(2, 4), n_train_per_class=(1, 2),
    n_windows=2,
)  # fmt: skip


def _env(seed: int = 0, **config: Any) -> TaskVectorEnv:
    return TaskVectorEnv(2, FEW, task_seed=seed, **{"device": "cpu", "action": "relative_update", **config})


def test_each_reset_makes_another_task_with_its_network_and_settings() -> None:
    venv = _env()
    seen = set()
    for k in range(6):
        observations, info = venv.reset(seed=k)
        names, config = venv.layer_names, venv.config
        seen.add((len(names), config.optimizer))
        assert observations.shape == venv.observation_space.shape == (2, len(names) * 20)
        assert venv.action_space.shape == (2, len(names))
        assert (config.pairs, config.budget) == ((venv.task.pair,), venv.task.settings["budget"])
        assert venv.pair_names == (venv.task.pair,) * 2
        assert info["updates"].tolist() == [0, 0]
    assert {n for n, _ in seen} == {5, 7} and {optimizer for _, optimizer in seen} == {"adamw", "sgd"}


def test_a_task_is_the_population_of_its_settings() -> None:
    venv = _env()
    alone = Syn2RealVectorEnv(2, **vars(venv.config))
    observations = [env.reset(seed=[3, 4])[0] for env in (venv, alone)]
    np.testing.assert_array_equal(*observations)
    actions = np.full(alone.action_space.shape, 0.3, np.float32)
    ours, theirs = venv.step(actions), alone.step(actions)
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])


def test_updates_are_counted_over_all_tasks() -> None:
    venv = _env()
    made = 0
    for _ in range(3):
        venv.reset()
        *_, info = venv.step(np.zeros(venv.action_space.shape, np.float32))
        made += int(info["updates"].sum())
    assert venv.episodes.updates_made == made
    assert made >= 3 * 2 * 2  # tasks, optimizees, updates of a window


def test_without_an_optimizer_of_their_own_tasks_have_that_of_the_environment() -> None:
    venv = _env(action="log", optimizer="lion")
    for _ in range(3):
        venv.reset()
        assert venv.config.optimizer == "lion" and "optimizer" not in venv.task.settings


def test_it_goes_on_with_the_same_tasks_from_its_streams() -> None:
    venv, again = _env(seed=1), _env(seed=2)
    venv.reset(seed=0)
    again.set_streams(venv.get_streams())
    for _ in range(3):
        observations = [env.reset()[0] for env in (venv, again)]
        assert venv.task == again.task
        np.testing.assert_array_equal(*observations)


def test_reinforce_learns_on_tasks_and_goes_on_where_it_was_cut_off() -> None:
    def agent() -> Reinforce:
        return Reinforce(_env().common, config=ReinforceConfig(hidden_size=4), seed=0)

    states: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    whole = agent()
    whole.learn(_env(common_random_numbers=True), 8, pairs=(), callback=records.append,
                on_boundary=lambda get_state: states.append(get_state()))  # fmt: skip
    assert [record["episode"] for record in records] == [2, 4, 6, 8]
    rest = agent()
    rest.learn(_env(common_random_numbers=True), 8, pairs=(), resume=states[1])
    for one, other in zip(whole.policy.parameters(), rest.policy.parameters(), strict=True):
        assert one.equal(other)


def test_what_it_cannot_do_is_told() -> None:
    venv = _env()
    with pytest.raises(
        ConfigError, match=r"The options are .*'glyphs-digits'.*; expected none: each reset draws a task"
    ):
        venv.reset(options={"pair": "glyphs-digits"})
    with pytest.raises(ConfigError, match="expected none"):
        venv.reset(options={"reset_mask": np.array([True, False])})
    venv.reset(options={"pair": None})
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(venv)
