"""What is the same bit for bit whatever runs it: the table of docs/reliability.md, cell by cell."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from l2o_env.env import Syn2RealEnv
from l2o_env.inner.workers import stop_workers
from l2o_env.vector_env import Syn2RealVectorEnv

SETTINGS: dict[str, Any] = {"pairs": "glyphs-digits", "budget": 6, "window": 3, "device": "cpu"}
KINDS: dict[str, dict[str, Any]] = {
    "kernels": {},
    "graph": {"guidance_cap": 1e9},  # which the kernels do not know
    "looped": {"implementation": "looped"},
}
"""Settings of each way in which a population runs."""


def episodes(n: int, seed: int = 7, **settings: Any) -> NDArray[np.float64]:
    """Observations and rewards ``(n, numbers)`` of whole episodes with random actions, the same for each optimizee."""
    venv = Syn2RealVectorEnv(n, **SETTINGS, **settings)
    actions = np.random.default_rng(0)
    found = [venv.reset(seed=list(range(seed, seed + n)))[0].reshape(n, -1)]
    for _ in range(2):
        action = actions.uniform(-1, 1, (16, *(venv.single_action_space.shape or ())))[:n]
        observations, rewards, *_ = venv.step(action)
        found += [observations.reshape(n, -1), rewards[:, None]]
    venv.close()
    return np.concatenate(found, 1).astype(float)


@pytest.fixture(scope="module")
def fours() -> dict[str, NDArray[np.float64]]:
    """Episodes of four optimizees, of each kind."""
    return {kind: episodes(4, **settings) for kind, settings in KINDS.items()}


@pytest.fixture
def two_threads() -> Iterator[None]:
    """PyTorch with two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_run_is_the_same(kind: str, fours: dict[str, NDArray[np.float64]]) -> None:
    np.testing.assert_array_equal(episodes(4, **KINDS[kind]), fours[kind])
    assert (episodes(4, seed=8, **KINDS[kind]) != fours[kind]).any()


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_threads_changes_nothing(kind: str, fours: dict[str, NDArray[np.float64]]) -> None:
    np.testing.assert_array_equal(episodes(4, **KINDS[kind]), fours[kind])


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("kind", ["kernels", "looped"])
def test_others_of_the_population_change_nothing(kind: str, n: int, fours: dict[str, NDArray[np.float64]]) -> None:
    found = episodes(n, **KINDS[kind])
    np.testing.assert_array_equal(found[:4], fours[kind][:n])


def test_worker_processes_change_nothing(fours: dict[str, NDArray[np.float64]]) -> None:
    found = {kind: episodes(4, workers=2, **KINDS[kind]) for kind in ("kernels", "looped")}
    stop_workers()
    for kind, each in found.items():
        np.testing.assert_array_equal(each, fours[kind])


def test_graphs_depend_on_how_many_are_in_one_by_rounding_alone(fours: dict[str, NDArray[np.float64]]) -> None:
    rewards = episodes(2, **KINDS["graph"])[:, -1]
    np.testing.assert_allclose(rewards, fours["graph"][:2, -1], atol=0.02)


def test_one_environment_is_one_of_a_population(fours: dict[str, NDArray[np.float64]]) -> None:
    env = Syn2RealEnv(**SETTINGS)
    actions = np.random.default_rng(0)
    found = [env.reset(seed=7)[0].ravel()]
    for _ in range(2):
        observation, reward, *_ = env.step(actions.uniform(-1, 1, (16, *(env.action_space.shape or ())))[0])
        found += [observation.ravel(), [reward]]
    np.testing.assert_array_equal(np.concatenate(found).astype(float), fours["kernels"][0])


def test_gymnasiums_own_vector_environments_change_nothing(fours: dict[str, NDArray[np.float64]]) -> None:
    envs = gymnasium.vector.SyncVectorEnv([lambda: Syn2RealEnv(**SETTINGS)] * 2)
    assert isinstance(envs.single_action_space, gymnasium.spaces.Box)
    actions = np.random.default_rng(0)
    found = [envs.reset(seed=[7, 8])[0].reshape(2, -1)]
    for _ in range(2):
        action = actions.uniform(-1, 1, (16, *envs.single_action_space.shape))[:2]
        observations, rewards, *_ = envs.step(action)
        found += [observations.reshape(2, -1), rewards[:, None]]
    envs.close()
    np.testing.assert_array_equal(np.concatenate(found, 1).astype(float), fours["kernels"][:2])


_OTHER = """
import numpy, sys
from tests.test_determinism import KINDS, episodes
numpy.savez(sys.argv[1], **{kind: episodes(4, **settings) for kind, settings in KINDS.items()})
"""


def test_another_process_is_the_same(tmp_path: Any, fours: dict[str, NDArray[np.float64]]) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "5", "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", _OTHER, str(tmp_path / "found.npz")], env=environment, check=True)
    with np.load(tmp_path / "found.npz") as found:
        for kind, expected in fours.items():
            np.testing.assert_array_equal(found[kind], expected)
