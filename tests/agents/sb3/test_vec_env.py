"""The population as SB3's VecEnv: the same as SB3's own vectorisation of single environments, and its extras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecCheckNan, VecMonitor

from agents.sb3.masks import factor_masks
from agents.sb3.vec_env import PopulationVecEnv
from l2o_env.action import encode
from l2o_env.env import Syn2RealEnv
from l2o_env.errors import ConfigError
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.tiny import TINY, make_tiny_env

MakeVec = Callable[..., Syn2RealVectorEnv]
SEEDS = [11, 12, 13]
WILD = 1e38
"""A largest rate at which an optimizee diverges within a window."""


def _actions(env: PopulationVecEnv, step: int) -> NDArray[np.float32]:
    """Calm rates, but the second optimizee diverges now and then, so that episodes get out of step."""
    rates = np.tile([0.01, 0.03, 0.1], (env.num_envs, 1)) * (1 + np.arange(env.num_envs))[:, None]
    actions = encode(rates, env.population.config)
    if step % 5 == 1:
        actions[1] = 1.0
    return actions


def test_behaves_as_sb3s_own_vectorisation_of_single_environments(make_vec: MakeVec) -> None:
    mine = PopulationVecEnv(make_vec(3, lr_max=WILD))
    theirs = DummyVecEnv([lambda: make_tiny_env(lr_max=WILD).unwrapped] * 3)
    mine._seeds, theirs._seeds = list(SEEDS), list(SEEDS)
    a, b = mine.reset(), theirs.reset()
    np.testing.assert_allclose(a, b, atol=1e-4)
    ended = 0
    for step in range(11):
        mine_step, their_step = (env.step(_actions(mine, step)) for env in (mine, theirs))
        np.testing.assert_array_equal(mine_step[2], their_step[2])
        np.testing.assert_allclose(mine_step[0], their_step[0], atol=2e-3)
        np.testing.assert_allclose(mine_step[1], their_step[1], atol=1e-4)
        assert [x.dtype for x in mine_step[:3]] == [x.dtype for x in their_step[:3]]  # type: ignore[union-attr]
        for i in range(3):
            x, y = mine_step[3][i], their_step[3][i]
            assert set(x) == set(y)
            assert x["TimeLimit.truncated"] is y["TimeLimit.truncated"] is False
            assert (x["diverged"], x["updates"], x["pair"]) == (y["diverged"], y["updates"], y["pair"])
            np.testing.assert_allclose(x["value"], y["value"], atol=1e-4)
            if mine_step[2][i]:
                ended += 1
                np.testing.assert_allclose(x["terminal_observation"], y["terminal_observation"], atol=2e-3)
                np.testing.assert_allclose(mine.reset_infos[i]["value"], theirs.reset_infos[i]["value"], atol=1e-4)
    assert ended >= 9


def test_the_terminal_observation_is_the_last_of_the_episode_and_the_other_the_first(make_vec: MakeVec) -> None:
    env, plain = PopulationVecEnv(make_vec(2)), make_vec(2)
    env._seeds = SEEDS[:2]
    np.testing.assert_array_equal(env.reset(), plain.reset(seed=SEEDS[:2])[0])
    actions, total = np.full((2, 3), 0.25, np.float32), np.zeros(2)
    for step in range(3):
        observations, rewards, done, infos = env.step(actions)
        expected, expected_rewards, *_ = plain.step(actions)
        np.testing.assert_array_equal(rewards, expected_rewards.astype(np.float32))
        total += expected_rewards
        assert done.tolist() == [step == 2] * 2
        if step < 2:
            np.testing.assert_array_equal(observations, expected)
            assert "terminal_observation" not in infos[0]
    for i in range(2):
        np.testing.assert_array_equal(infos[i]["terminal_observation"], expected[i])
    first, *_ = plain.step(actions)  # auto-reset
    np.testing.assert_array_equal(observations, first)
    assert env.reset_infos[0]["updates"] == 0
    np.testing.assert_allclose(
        total, [info["value"] - v for info, v in zip(infos, _start_values(make_vec), strict=True)]
    )


def _start_values(make_vec: MakeVec) -> NDArray[np.float64]:
    return make_vec(2).reset(seed=SEEDS[:2])[1]["value"]


def test_one_optimizee_that_diverges_does_not_touch_the_others(make_vec: MakeVec) -> None:
    env = PopulationVecEnv(make_vec(2, lr_max=WILD))
    env.seed(0)
    env.reset()
    calm = _actions(env, 0)
    env.step(calm)
    wild = calm.copy()
    wild[1] = 1.0
    _, rewards, done, infos = env.step(wild)
    assert done.tolist() == [False, True]
    assert infos[1]["diverged"] and rewards[1] == -env.population.config.divergence_penalty
    assert "terminal_observation" not in infos[0]
    assert [info["updates"] for info in (infos[0], env.reset_infos[1])] == [6, 0]
    _, _, done, infos = env.step(calm)
    assert done.tolist() == [True, False]  # each counts its own budget


def test_seeds_are_those_of_single_environments_and_leave_global_generators_alone(make_vec: MakeVec) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[union-attr, index]
    env = PopulationVecEnv(make_vec(2))
    seeds = env.seed(5)
    assert seeds == PopulationVecEnv(make_vec(2)).seed(5) != env.seed(6)
    assert env.seed() != env.seed()
    seeds = env.seed(5)
    first = env.reset()
    single, _ = Syn2RealEnv(**TINY).reset(seed=seeds[1])
    np.testing.assert_allclose(first[1], single, atol=1e-4)
    assert not np.array_equal(first, env.reset())  # seeds are used up; the streams go on
    env.seed(5)
    np.testing.assert_array_equal(first, env.reset())
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # type: ignore[index]


def test_options_pick_the_pair(tinies: tuple[str, str]) -> None:
    env = PopulationVecEnv(Syn2RealVectorEnv(2, **{**TINY, "pairs": tinies}))
    for pair in tinies:
        env.set_options({"pair": pair})
        env.reset()
        assert {env.population.config.pairs[info["pair"]] for info in env.reset_infos} == {pair}
    env.set_options([{"pair": "tiny"}, {"pair": "tiny-4"}])
    with pytest.raises(ConfigError, match="options differ between optimizees"):
        env.reset()


def test_attributes_and_methods_of_the_population(make_vec: MakeVec) -> None:
    env = PopulationVecEnv(make_vec(2, render_mode="rgb_array"))
    env.reset()
    assert env.get_attr("layer_names") == [("stem", "layer1", "head")] * 2
    assert env.get_attr("config", [0, 1]) == [env.population.config] * 2
    assert env.has_attr("evaluate") and not env.has_attr("nothing")
    accuracy = env.population.evaluate("target")
    assert env.env_method("evaluate", "target") == accuracy.tolist()
    assert env.env_method("evaluate", "target", indices=1) == [accuracy[1]]
    env.set_attr("note", 7)
    assert env.population.note == 7 and env.get_attr("note", 0) == [7]  # type: ignore[attr-defined]
    assert env.env_is_wrapped(Monitor, [0, 1]) == [False, False]
    pictures = env.get_images()
    assert len(pictures) == 2 and pictures[0] is not None
    height, width, _ = pictures[0].shape
    tiled = env.render()
    assert tiled is not None and tiled.shape == (2 * height, width, 3)
    with pytest.raises(ConfigError, match="'note' is the whole population; got the indices 0"):
        env.set_attr("note", 1, indices=0)
    with pytest.raises(ConfigError, match=r"step\(\) acts on the whole population"):
        env.env_method("step", None, indices=[0])


def test_wrappers_of_sb3_go_around_it(make_vec: MakeVec) -> None:
    env = VecMonitor(VecCheckNan(PopulationVecEnv(make_vec(2)), raise_exception=True))
    env.seed(1)
    env.reset()
    for _ in range(3):
        _, _, done, infos = env.step(np.zeros((2, 3), np.float32))
    assert done.all()
    for info, start in zip(infos, _values_of(make_vec, env), strict=True):
        assert info["episode"]["l"] == 3
        np.testing.assert_allclose(info["episode"]["r"], info["value"] - start, atol=1e-5)


def _values_of(make_vec: MakeVec, env: Any) -> list[float]:
    again = PopulationVecEnv(make_vec(2))
    again.seed(1)
    again.reset()
    return [info["value"] for info in again.reset_infos]


def test_a_shared_factor_sets_all_layers(make_vec: MakeVec) -> None:
    env = PopulationVecEnv(make_vec(2, action="discrete"), shared_factor=True)
    assert env.action_space == spaces.Discrete(11)
    env.reset()
    _, _, _, infos = env.step(np.array([3, 10]))
    np.testing.assert_allclose([info["lr"] for info in infos], [[0.006] * 3, [0.02] * 3])


def test_masks_of_the_next_step(make_vec: MakeVec) -> None:
    env = PopulationVecEnv(make_vec(2, action="discrete"), max_jump=2)
    assert is_masking_supported(env) and not is_masking_supported(PopulationVecEnv(make_vec(2)))
    env.reset()
    env.step(np.array([[8, 9, 10], [0, 1, 5]]))
    expected = factor_masks(np.array([[0.016, 0.018, 0.02], [0.0, 0.002, 0.01]]), 0.02, 2)
    np.testing.assert_array_equal(get_action_masks(env), expected)


def test_populations_that_do_not_fit(make_vec: MakeVec) -> None:
    with pytest.raises(ConfigError, match=r"auto-reset mode SameStep; expected NextStep"):
        PopulationVecEnv(make_vec(2, autoreset_mode=AutoresetMode.SAME_STEP))
    with pytest.raises(ConfigError, match="shared_factor=True and the action form 'log'"):
        PopulationVecEnv(make_vec(2), shared_factor=True)
    with pytest.raises(ConfigError, match="max_jump is 0 with the action form 'discrete'"):
        PopulationVecEnv(make_vec(2, action="discrete"), max_jump=0)
