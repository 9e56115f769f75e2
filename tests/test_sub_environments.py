"""Gymnasium's own tests of vector environments, ported; docs/vector.md has what differs, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

from l2o_env.vector_env import Syn2RealVectorEnv
from tests.test_env import IDS
from tests.tiny import make_tiny_env, settings_of

MakeVec = Callable[..., Syn2RealVectorEnv]
MODES = list(AutoresetMode)


def _sync(n: int = 3, **config: Any) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: make_tiny_env(**config)] * n)


# --- test_vector_env.py ----------------------------------------------------------------------------------------------


def test_spaces_equal_those_of_single_environments(make_vec: MakeVec) -> None:
    venv, sync = make_vec(), _sync()
    for name in ("num_envs", "observation_space", "single_observation_space", "action_space", "single_action_space"):
        assert getattr(venv, name) == getattr(sync, name)


def test_random_seeding_basics(make_vec: MakeVec) -> None:
    venv = make_vec(4)
    venv.reset(seed=[42, 43, 44, 45])
    assert venv.np_random_seed == (42, 43, 44, 45)
    venv.reset(seed=None)
    assert venv.np_random_seed == (42, 43, 44, 45)
    venv.reset(seed=[7, None, None, None])
    assert venv.np_random_seed == (7, 43, 44, 45)
    venv.reset(seed=42)  # deliberately: independent streams, which no seed of a single environment gives
    assert venv.np_random_seed == (-1,) * 4
    assert len({stream.integers(2**62) for stream in venv.np_random}) == 4


def test_random_seeds_set_at_retrieval(make_vec: MakeVec) -> None:
    venv = make_vec()
    seeds = venv.np_random_seed
    assert len(set(seeds)) == venv.num_envs
    observations, _ = venv.reset()
    assert venv.np_random_seed == seeds  # they are those of the episodes, not of other streams
    for seed, observation in zip(seeds, observations, strict=True):
        np.testing.assert_allclose(make_tiny_env().reset(seed=seed)[0], observation, atol=1e-5)


def test_seeds_of_restored_streams_are_unknown(make_vec: MakeVec) -> None:
    venv, other = make_vec(), make_vec()
    venv.reset(seed=[1, 2, 3])
    other.set_state(venv.get_state())
    assert other.np_random_seed == (-1, -1, -1)


def test_partial_reset(make_vec: MakeVec) -> None:
    venv = make_vec(autoreset_mode=AutoresetMode.DISABLED)
    start, _ = venv.reset(seed=[0, 1, 2])
    venv.step(venv.action_space.sample())
    stepped, *_ = venv.step(venv.action_space.sample())
    observations, _ = venv.reset(seed=[0, 1, 0], options={"reset_mask": np.array([True, True, False])})
    np.testing.assert_array_equal(observations[:2], start[:2])
    np.testing.assert_array_equal(observations[2], stepped[2])
    assert venv.np_random_seed == (0, 1, 2)


@pytest.mark.parametrize(
    ("mask", "error"),
    [
        ([True], ValueError),
        ([True, True, False, False], ValueError),
        ([[True, True, True]], ValueError),
        ([False, False, False], ValueError),
        ([1, 1, 0], TypeError),
        ([1.0, 1.0, 0.0], TypeError),
    ],
)
def test_partial_reset_failure(make_vec: MakeVec, mask: list[Any], error: type[Exception]) -> None:
    venv = make_vec(autoreset_mode=AutoresetMode.DISABLED)
    venv.reset(options={"reset_mask": np.array([True, True, True])})
    with pytest.raises(error, match="reset_mask"):
        venv.reset(options={"reset_mask": np.array(mask)})


def test_action_count_compatibility(make_vec: MakeVec) -> None:
    venv = make_vec(4)
    venv.reset(seed=0)
    actions = venv.action_space.sample()
    assert [len(part) for part in venv.step(actions)[:4]] == [4] * 4
    with pytest.raises(ValueError, match="shape"):
        venv.step(actions[:3])
    with pytest.raises(ValueError, match="shape"):
        venv.step(np.concatenate([actions, actions[:1]]))
    with pytest.raises(TypeError, match="the number 0"):
        venv.step(0)  # type: ignore[arg-type]


# --- test_sync_vector_env.py -----------------------------------------------------------------------------------------


def test_metadata(make_vec: MakeVec) -> None:
    assert make_vec(autoreset_mode="SameStep").metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    assert Syn2RealVectorEnv.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    single = make_tiny_env().metadata
    assert {key: make_vec().metadata[key] for key in single} == single  # RecordVideo takes render_fps from it


def test_step_takes_a_list_of_actions(make_vec: MakeVec) -> None:
    venv = make_vec()
    venv.reset(seed=0)
    actions = [venv.single_action_space.sample() for _ in range(3)]
    observations, rewards, terminations, truncations, _ = venv.step(actions)  # type: ignore[arg-type]
    assert observations.dtype == venv.observation_space.dtype
    assert observations.shape == venv.observation_space.shape
    assert (rewards.dtype, rewards.shape) == (np.float64, (3,))
    assert terminations.dtype == truncations.dtype == np.bool_
    assert terminations.shape == truncations.shape == (3,)


def test_call(make_vec: MakeVec, tinies: tuple[str, str]) -> None:
    venv, sync = make_vec(pairs=tinies, render_mode="rgb_array"), _sync(pairs=tinies, render_mode="rgb_array")
    for each in (venv, sync):
        each.reset(seed=[1, 2, 3])
    for name in ("pair_name", "layer_names", "config", "np_random_seed", "render_mode", "action_space"):
        assert venv.get_attr(name) == sync.get_attr(name)
    assert venv.call("evaluate", "target") == pytest.approx(sync.call("evaluate", "target"))
    pictures = venv.call("render")
    assert isinstance(pictures, tuple)
    assert [picture.shape for picture in pictures] == [picture.shape for picture in sync.call("render")]
    assert make_vec().call("render") == (None,) * 3
    with pytest.raises(AttributeError, match=r"has no attribute 'gravity'. Known: .*evaluate"):
        venv.get_attr("gravity")
    with pytest.raises(AttributeError):
        sync.get_attr("gravity")


# --- test_autoreset_mode.py ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
def test_truncation_after_max_episode_steps(make_vec: MakeVec, mode: AutoresetMode) -> None:
    venv = make_vec(2, budget=9, window=3, max_episode_steps=2, autoreset_mode=mode)
    limited = [lambda: gym.wrappers.TimeLimit(make_tiny_env(budget=9, window=3), 2)] * 2
    sync = SyncVectorEnv(limited, autoreset_mode=mode)
    for each in (venv, sync):
        each.reset(seed=[1, 2])
    for _ in range(7):
        actions = np.zeros(venv.action_space.shape or (), np.float32)
        mine, theirs = venv.step(actions), sync.step(actions)
        for a, b in zip(mine[:4], theirs[:4], strict=True):
            np.testing.assert_allclose(a, b, atol=1e-3)
        if mode == AutoresetMode.DISABLED and mine[3].any():
            for each in (venv, sync):
                each.reset(options={"reset_mask": mine[3]})


def test_truncation_goes_on_from_a_state(make_vec: MakeVec) -> None:
    venv, other = (make_vec(2, budget=9, max_episode_steps=2) for _ in range(2))
    venv.reset(seed=0)
    actions = venv.action_space.sample()
    venv.step(actions)
    state = venv.get_state()
    other.set_state(state)
    assert other.step(actions)[3].tolist() == [True, True]
    del state["steps"]  # written before there was a limit
    other.set_state(state)
    assert other.step(actions)[3].tolist() == [False, False]


# --- test_make_vec.py and the wrappers -------------------------------------------------------------------------------


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("env_id", IDS)
def test_make_vec_with_a_spec_that_was_written_as_json(env_id: str) -> None:
    settings = {**settings_of(env_id), "autoreset_mode": AutoresetMode.SAME_STEP, "max_episode_steps": 2}
    settings["batch_size"] = np.int64(8)
    venv = gym.make_vec(env_id, num_envs=3, vectorization_mode="vector_entry_point", **settings)
    assert venv.spec is not None
    again = gym.make_vec(EnvSpec.from_json(venv.spec.to_json()))
    assert isinstance(again, Syn2RealVectorEnv)
    assert again.num_envs == 3
    assert again.autoreset_mode == AutoresetMode.SAME_STEP
    assert again.max_episode_steps == 2
    assert again.config == venv.unwrapped.config  # type: ignore[attr-defined]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
def test_episode_statistics_with_autoreset_mode(make_vec: MakeVec, mode: AutoresetMode) -> None:
    venv = RecordEpisodeStatistics(make_vec(2, autoreset_mode=mode))
    venv.reset(seed=123)
    for _ in range(14):
        _, _, terminated, truncated, infos = venv.step(venv.action_space.sample())
        ended = terminated | truncated
        assert ended.any() == ("episode" in infos)
        if ended.any():
            assert infos["episode"]["l"][ended].tolist() == [3] * int(ended.sum())
            if mode == AutoresetMode.DISABLED:
                venv.reset(options={"reset_mask": ended.copy()})
    assert venv.episode_count >= 6
    assert set(venv.length_queue) == {3}


def test_infos_as_lists_equal_those_of_single_environments(make_vec: MakeVec) -> None:
    venv, sync = DictInfoToList(make_vec()), DictInfoToList(_sync())
    mine, theirs = (each.reset(seed=[1, 2, 3])[1] for each in (venv, sync))
    assert [info.keys() for info in mine] == [info.keys() for info in theirs]
    assert data_equivalence([info["lr"] for info in mine], [info["lr"] for info in theirs])
