"""The population as a vector environment."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from l2o_env.action import encode
from l2o_env.errors import ConfigError
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.conformance import VectorConformance, assert_same
from tests.test_env import IDS
from tests.tiny import TINY, make_tiny_env, settings_of

MakeVec = Callable[..., Syn2RealVectorEnv]
CALM = np.array([0.01, 0.03, 0.1])
WILD = 1e38
"""A largest rate at which an optimizee diverges within a window."""


@pytest.mark.usefixtures("tiny")
class TestEveryId(VectorConformance):
    """The conformance tests, applied to every id that this package registers."""

    @pytest.fixture(autouse=True, params=IDS)
    def _id(self, request: pytest.FixtureRequest) -> None:
        self.id: str = request.param

    def make_env(self, **config: Any) -> gymnasium.Env[Any, Any]:
        return gymnasium.make(self.id, **{**settings_of(self.id), **config})

    def make_vec(self, num_envs: int = 3, **config: Any) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
        kwargs = {**settings_of(self.id), **config}
        return gymnasium.make_vec(self.id, num_envs=num_envs, vectorization_mode="vector_entry_point", **kwargs)


class TestOutOfStep(TestEveryId):
    """Likewise with episodes that end at different steps, because one of three optimizees diverges now and then."""

    def make_env(self, **config: Any) -> gymnasium.Env[Any, Any]:
        return super().make_env(action="log", lr_max=WILD, **config)

    def make_vec(self, num_envs: int = 3, **config: Any) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
        return super().make_vec(num_envs, action="log", lr_max=WILD, **config)

    def actions(self, venv: gymnasium.vector.VectorEnv[Any, Any, Any], step: int) -> NDArray[Any]:
        rates = np.tile(CALM, (venv.num_envs, 1)) * (1 + np.arange(venv.num_envs))[:, None]
        actions = encode(rates, venv.config)  # type: ignore[attr-defined]
        if step % 7 == 1:
            actions[1] = 1.0
        return actions


def _actions(venv: Syn2RealVectorEnv, *rates: NDArray[np.float64]) -> NDArray[np.float32]:
    return encode(np.stack(rates), venv.config)


# --- seeds and common random numbers ---------------------------------------------------------------------------------


def test_a_list_of_seeds_may_leave_some_out(make_vec: MakeVec) -> None:
    venv = make_vec()
    first = venv.reset(seed=[1, 2, 3])[0]
    second = venv.reset(seed=[1, None, 3])[0]
    np.testing.assert_array_equal(second[[0, 2]], first[[0, 2]])
    assert not np.array_equal(second[1], first[1])


def test_seeds_may_come_in_any_sequence(make_vec: MakeVec) -> None:
    venv = make_vec()
    expected = venv.reset(seed=[1, 2, 3])[0]
    np.testing.assert_array_equal(venv.reset(seed=(1, 2, 3))[0], expected)
    np.testing.assert_array_equal(venv.reset(seed=np.array([1, 2, 3]))[0], expected)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="2 seeds for 3 environments"):
        venv.reset(seed=[1, 2])


def test_without_a_seed_the_streams_go_on(make_vec: MakeVec) -> None:
    venv, other = make_vec(), make_vec()
    starts = [venv.reset(seed=5 if i == 0 else None)[0] for i in range(3)]
    assert len({start.tobytes() for start in starts}) == 3
    for i, start in enumerate(starts):
        np.testing.assert_array_equal(other.reset(seed=5 if i == 0 else None)[0], start)


@pytest.mark.parametrize("seed", [7, [7, 1, 2], None])
def test_common_random_numbers_and_the_same_actions_give_identical_optimizees(make_vec: MakeVec, seed: Any) -> None:
    venv = make_vec(common_random_numbers=True)
    for episode in range(2):
        obs, info = venv.reset(seed=seed if episode == 0 else None)
        for step in range(3):
            assert (obs == obs[0]).all()
            assert len(np.unique(info["value"])) == 1
            obs, rewards, _, _, info = venv.step(np.full((3, 3), 0.1 * step, np.float32))
            assert (rewards == rewards[0]).all()


def test_common_random_numbers_leave_only_the_actions_to_differ(make_vec: MakeVec) -> None:
    venv, others = make_vec(common_random_numbers=True), make_vec(common_random_numbers=True)
    for each in (venv, others):
        each.reset(seed=7)
    for _ in range(3):
        one = venv.step(_actions(venv, CALM, 2 * CALM, CALM))
        two = others.step(_actions(venv, CALM, CALM, 3 * CALM))
        assert one[1][0] == one[1][2] == two[1][0] == two[1][1]
        np.testing.assert_array_equal(one[0][0], one[0][2])
        np.testing.assert_array_equal(one[0][0], two[0][0])
        assert len({one[1][0], one[1][1], two[1][2]}) == 3
    different = make_vec()
    different.reset(seed=7)
    rewards = different.step(_actions(venv, CALM, CALM, CALM))[1]
    assert len(set(rewards)) == 3


def test_common_random_numbers_also_draw_a_common_pair(make_vec: MakeVec, tinies: tuple[str, str]) -> None:
    venv = make_vec(4, pairs=tinies, common_random_numbers=True)
    drawn = [{tinies[k] for k in venv.reset(seed=0 if i == 0 else None)[1]["pair"]} for i in range(12)]
    assert all(len(names) == 1 for names in drawn)
    assert set.union(*drawn) == set(tinies)
    independent = make_vec(8, pairs=tinies)
    assert {tinies[k] for k in independent.reset(seed=0)[1]["pair"]} == set(tinies)


def test_the_kl_counts_by_the_classes_of_each_pair(make_vec: MakeVec, tinies: tuple[str, str]) -> None:
    venv = make_vec(8, pairs=tinies, reward="proxy_guided")
    first = venv.reset(seed=0)[1]
    _, rewards, _, _, info = venv.step(_actions(venv, *[CALM] * 8))
    w = np.log(3) / np.log([venv.episodes.population.pairs[k].n_proxy_classes for k in info["pair"]])
    assert len(set(w)) == 2
    np.testing.assert_array_equal(info["value"], -(info["val_ce"] + w * info["val_kl"]))
    np.testing.assert_allclose(rewards, info["value"] - first["value"], atol=1e-12)
    np.testing.assert_allclose(info["reward_kl"], w * (first["val_kl"] - info["val_kl"]), atol=1e-12)


# --- pairs and resets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP], ids=lambda mode: mode.value)
def test_the_pair_option_survives_auto_reset(make_vec: MakeVec, tinies: tuple[str, str], mode: AutoresetMode) -> None:
    venv = make_vec(8, pairs=tinies, budget=2, window=2, autoreset_mode=mode)
    venv.reset(seed=0, options={"pair": "tiny-4"})
    seen, ends = set(venv.pair_names), 0
    for _ in range(6):
        _, _, terminated, _, info = venv.step(venv.action_space.sample())
        seen |= set(venv.pair_names)
        assert info["pair"].tolist() == [1] * 8
        ends += int(terminated.sum())
    assert seen == {"tiny-4"}
    assert ends >= 3 * 8
    venv.reset(options={"pair": None})
    drawn = {place for _ in range(4) for place in venv.step(venv.action_space.sample())[4]["pair"]}
    assert drawn == {0, 1}


def test_a_reset_mask_restarts_some_and_leaves_the_others(make_vec: MakeVec) -> None:
    mode = AutoresetMode.DISABLED
    venv, sync = make_vec(autoreset_mode=mode), SyncVectorEnv([make_tiny_env] * 3, autoreset_mode=mode)
    for each in (venv, sync):
        each.reset(seed=[1, 2, 3])
    mask = np.array([False, True, False])
    for step in range(2):
        actions = _actions(venv, CALM, 2 * CALM, CALM / 2)
        mine, theirs = venv.step(actions), sync.step(actions)
        np.testing.assert_allclose(mine[0], theirs[0], atol=1e-5)
        np.testing.assert_allclose(mine[1], theirs[1], atol=1e-5)
        if step == 0:
            before = mine[0]
            # A seed is for those that are reset, here and in Gymnasium.
            seeds: list[int | None] = [7, 8, 9]
            obs, info = venv.reset(seed=seeds, options={"reset_mask": mask})
            expected, expected_info = sync.reset(seed=seeds, options={"reset_mask": mask.copy()})
            np.testing.assert_array_equal(obs[~mask], before[~mask])
            np.testing.assert_allclose(obs, expected, atol=1e-5)
            np.testing.assert_array_equal(info["_value"], expected_info["_value"])
            np.testing.assert_allclose(info["value"][mask], expected_info["value"][mask], atol=1e-5)
    (obs, _), (expected, _) = venv.reset(), sync.reset()
    np.testing.assert_allclose(obs, expected, atol=1e-5)


def test_without_auto_reset_ended_optimizees_have_to_be_reset(make_vec: MakeVec) -> None:
    venv = make_vec(autoreset_mode=AutoresetMode.DISABLED, lr_max=WILD)
    venv.reset(seed=0)
    wild = np.full(3, WILD)
    terminated = venv.step(_actions(venv, CALM, wild, CALM))[2]
    np.testing.assert_array_equal(terminated, [False, True, False])
    with pytest.raises(ResetNeeded, match=r"optimizees \[1\] have ended.*reset_mask"):
        venv.step(_actions(venv, CALM, CALM, CALM))
    obs, _ = venv.reset(options={"reset_mask": terminated})
    assert venv.observation_space.contains(obs)
    updates = venv.step(_actions(venv, CALM, CALM, CALM))[4]["updates"]
    np.testing.assert_array_equal(updates, [6, 3, 6])
    np.testing.assert_array_equal(venv.step(_actions(venv, CALM, CALM, CALM))[2], [True, False, True])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones(2, np.bool_), r"shape \(2,\).*expected \(3,\)"),
        (np.ones(3), r"type float64; expected \(3,\) booleans"),
        (np.zeros(3, np.bool_), "at least one True"),
    ],
)
def test_a_bad_reset_mask(make_vec: MakeVec, mask: NDArray[Any], message: str) -> None:
    venv = make_vec(autoreset_mode=AutoresetMode.DISABLED)
    venv.reset(seed=0)
    with pytest.raises(ConfigError, match=message):
        venv.reset(options={"reset_mask": mask})


def test_the_first_reset_is_of_all(make_vec: MakeVec) -> None:
    with pytest.raises(ConfigError, match="first reset must reset every optimizee"):
        make_vec().reset(options={"reset_mask": np.array([True, False, False])})


def test_next_step_ignores_action_and_reward_of_the_reset(make_vec: MakeVec) -> None:
    venv, other = make_vec(), make_vec()
    for each in (venv, other):
        each.reset(seed=0)
        for _ in range(3):
            terminated = each.step(_actions(venv, CALM, CALM, CALM))[2]
        assert terminated.all()
    one = venv.step(_actions(venv, CALM, CALM, CALM))
    two = other.step(_actions(venv, 9 * CALM, CALM / 9, CALM))
    assert_same(one, two)
    np.testing.assert_array_equal(one[1], 0.0)
    assert not one[2].any()
    np.testing.assert_array_equal(one[4]["updates"], 0)
    np.testing.assert_array_equal(one[4]["lr"], venv.config.base_lr)


# --- divergence ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("implementation", ["stacked", "looped"])
def test_one_diverges_and_the_others_go_on(make_vec: MakeVec, implementation: str, optimizer: str) -> None:
    settings = {"lr_max": WILD, "implementation": implementation, "divergence_penalty": 2.5, "optimizer": optimizer}
    calm, mixed = (make_vec(**settings) for _ in range(2))
    for each in (calm, mixed):
        each.reset(seed=0)
    expected: tuple[Any, ...] = calm.step(_actions(calm, CALM, CALM, CALM))
    found: tuple[Any, ...] = mixed.step(_actions(calm, CALM, np.full(3, WILD), CALM))
    np.testing.assert_array_equal(found[2], [False, True, False])
    np.testing.assert_array_equal(found[4]["diverged"], [False, True, False])
    assert found[1][1] == -2.5
    assert mixed.observation_space.contains(found[0])
    assert np.isfinite(found[0]).all()
    assert np.isfinite(found[4]["value"]).all()
    for _ in range(2):
        for a, b in zip(expected[:2], found[:2], strict=True):
            np.testing.assert_array_equal(a[[0, 2]], b[[0, 2]])
        expected, found = (each.step(_actions(calm, CALM, CALM, CALM)) for each in (calm, mixed))
    np.testing.assert_array_equal(found[2], [True, False, True])
    np.testing.assert_array_equal(found[4]["updates"], [7, 3, 7])


# --- rates, evaluation, pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["log", "discrete"])
def test_physical_rates_need_no_action_form(make_vec: MakeVec, action: str) -> None:
    venv, other = make_vec(action=action), make_vec(action="log")
    for each in (venv, other):
        each.reset(seed=0)
    rates = np.stack([CALM, 2 * CALM, CALM / 2])
    a, b = venv.step_rates(rates), other.step(encode(rates, other.config))
    np.testing.assert_array_equal(a[4]["lr"], rates)
    np.testing.assert_allclose(a[1], b[1], atol=1e-5)
    frozen = venv.step_rates(np.zeros((3, 3)))
    np.testing.assert_array_equal(frozen[4]["lr"], 0)
    np.testing.assert_array_equal(frozen[4]["update_ratio"], 0)


def test_evaluation_is_of_each_optimizee(make_vec: MakeVec) -> None:
    venv = make_vec()
    with pytest.raises(ResetNeeded, match=r"call reset\(\)"):
        venv.evaluate("target")
    venv.reset(seed=[1, 2, 3])
    env = make_tiny_env()
    for i, seed in enumerate([1, 2, 3]):
        env.reset(seed=seed)
        for split in ("target", "proxy_test"):
            assert venv.evaluate(split)[i] == pytest.approx(env.get_wrapper_attr("evaluate")(split))


def test_renders_a_picture_of_each(make_vec: MakeVec) -> None:
    venv = make_vec(2, render_mode="rgb_array")
    venv.reset(seed=0)
    venv.step(venv.action_space.sample())
    frames = venv.render()
    assert frames is not None
    assert len(frames) == 2
    assert frames[0].shape == frames[1].shape
    assert frames[0].dtype == np.uint8
    assert not np.array_equal(frames[0], frames[1])
    assert make_vec().render() is None


# --- workers ---------------------------------------------------------------------------------------------------------


def test_runs_in_worker_processes(tiny: str) -> None:
    factories = [partial(make_tiny_env, common_random_numbers=flag) for flag in (False, True)]
    here = SyncVectorEnv(factories)
    there = AsyncVectorEnv(factories, context="spawn")
    try:
        assert_same(here.reset(seed=[3, 4]), there.reset(seed=[3, 4]))
        here.action_space.seed(0)
        for _ in range(5):
            actions = here.action_space.sample()
            assert_same(here.step(actions), there.step(actions))
    finally:
        there.close()


# --- what cannot work ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_envs", [0, -1, 2.0, True, None])
def test_a_bad_number_of_environments(num_envs: Any) -> None:
    with pytest.raises(ConfigError, match=rf"num_envs is {num_envs!r}; expected an integer >= 1"):
        gymnasium.make_vec("l2o_env/Syn2Real-v0", num_envs=num_envs, **TINY)


def test_what_was_refused_needs_no_closing() -> None:
    refused = Syn2RealVectorEnv.__new__(Syn2RealVectorEnv)  # as older Gymnasiums find it when they close what is lost
    with pytest.raises(ConfigError):
        refused.__init__(num_envs=0)  # type: ignore[misc]
    refused.close()


def test_no_step_before_the_first_reset(make_vec: MakeVec) -> None:
    venv = make_vec()
    for step in (venv.step, venv.step_rates):
        with pytest.raises(ResetNeeded, match=r"no episode yet; call reset\(\)"):
            step(np.zeros((3, 3), np.float32))


def test_bad_actions_change_nothing(make_vec: MakeVec) -> None:
    venv, other = make_vec(), make_vec()
    for each in (venv, other):
        each.reset(seed=0)
    holed = np.zeros((3, 3))
    holed[1, 2] = np.nan
    for bad, message in (
        (np.zeros((2, 3)), r"shape \(2, 3\); expected \(3, 3\)"),
        (np.zeros(3), r"shape \(3,\); expected \(3, 3\)"),
        (holed, "without NaN"),
    ):
        with pytest.raises(ConfigError, match=message):
            venv.step(bad)
    with pytest.raises(ConfigError, match="expected finite numbers >= 0"):
        venv.step_rates(-np.ones((3, 3)))
    good = _actions(venv, CALM, CALM, CALM)
    assert_same(venv.step(good), other.step(good))


def test_bad_options_change_nothing(make_vec: MakeVec) -> None:
    venv, other = make_vec(), make_vec()
    for each in (venv, other):
        each.reset(seed=0)
    with pytest.raises(ConfigError, match=r"Unknown reset option 'mask'.*Known: 'pair', 'reset_mask'"):
        venv.reset(seed=1, options={"mask": np.ones(3, np.bool_)})
    with pytest.raises(ConfigError, match=r"Unknown pair of this environment 'tyni'\. Did you mean 'tiny'\?"):
        venv.reset(seed=1, options={"pair": "tyni"})
    assert_same(venv.reset(), other.reset())


@pytest.mark.parametrize("mode", ["next_step", "never"])
def test_an_unknown_autoreset_mode(make_vec: MakeVec, mode: str) -> None:
    with pytest.raises(ConfigError, match=rf"Unknown auto-reset mode '{mode}'\..*'NextStep', 'SameStep'"):
        make_vec(autoreset_mode=mode)


def test_autoreset_modes_by_name(make_vec: MakeVec) -> None:
    for mode in AutoresetMode:
        assert make_vec(1, autoreset_mode=mode.value).autoreset_mode is mode
