"""What every environment of this package must do, whatever it observes and rewards.

A test class inherits :class:`EnvConformance` or :class:`VectorConformance` and writes one method that makes the
environment; all that is checked here is then checked of it.
"""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Iterator
from itertools import count
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray

from l2o_env.errors import ConfigError
from l2o_env.windows import decision_points

Step = tuple[Any, Any, Any, Any, dict[str, Any]]


def assert_same(a: Any, b: Any, path: str = "") -> None:
    """Both are equal bit for bit: the same types, shapes, keys, and values (NaN equals NaN)."""
    if isinstance(a, dict):
        assert list(a) == list(b), path
        for key in a:
            assert_same(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}/{i}")
    elif isinstance(a, np.ndarray) and a.dtype == object:
        assert_same(list(a), list(b), path)
    elif isinstance(a, np.ndarray | float):
        np.testing.assert_array_equal(a, b, err_msg=path, strict=isinstance(a, np.ndarray))
    else:
        assert type(a) is type(b) and a == b, (path, a, b)


def assert_close(a: dict[str, Any], b: dict[str, Any], atol: float) -> None:
    """Both infos have the same keys and masks, and nearly the same values wherever their masks are true."""
    assert set(a) == set(b)
    for key in a:
        if key.startswith("_"):
            np.testing.assert_array_equal(a[key], b[key], err_msg=key, strict=True)
        elif isinstance(a[key], dict):
            assert_close(a[key], b[key], atol)
        else:
            assert a[key].dtype == b[key].dtype and a[key].shape == b[key].shape, key
            for x, y in zip(a[key][a[f"_{key}"]], b[key][b[f"_{key}"]], strict=True):
                if isinstance(x, str):
                    assert x == y, key
                else:
                    np.testing.assert_allclose(x, y, atol=atol, err_msg=key)


def sb3_check_env(env: gymnasium.Env[Any, Any]) -> None:
    """Stable-Baselines3's checks, where it is installed."""
    pytest.importorskip("stable_baselines3.common.env_checker").check_env(env)


def _global_generators() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]


class EnvConformance:
    """Checks of a single environment."""

    def make_env(self, **config: Any) -> gymnasium.Env[Any, Any]:
        """Makes an environment whose episodes are short and have more than two steps."""
        raise NotImplementedError

    def rollout(self, env: gymnasium.Env[Any, Any], actions: int = 0, episodes: int = 1) -> Iterator[Step]:
        """The steps of episodes that are started without a seed; actions come from a seeded space."""
        env.action_space.seed(actions)
        for _ in range(episodes):
            obs, info = env.reset()
            yield obs, 0.0, False, False, info
            for _ in count():
                step = env.step(env.action_space.sample())
                yield step
                if step[2] or step[3]:
                    break

    # pytest's own configuration turns every warning of the checkers into an error
    def test_gymnasium_finds_nothing(self) -> None:
        check_env(self.make_env(render_mode="rgb_array").unwrapped)

    def test_stable_baselines_finds_nothing(self) -> None:
        sb3_check_env(self.make_env())

    def test_observations_are_fresh_and_within_their_space(self) -> None:
        env = self.make_env()
        space = env.observation_space
        env.reset(seed=0)
        seen = [step[0] for step in self.rollout(env, episodes=2)]
        for obs in seen:
            assert obs.dtype == space.dtype and obs.shape == space.shape and len(obs.shape) == 1
            assert space.contains(obs)
            assert np.isfinite(obs).all()
        assert len({obs.__array_interface__["data"][0] for obs in seen}) == len(seen)

    def test_what_is_done_to_results_changes_nothing(self) -> None:
        careful, careless = self.make_env(), self.make_env()
        for env in (careful, careless):
            env.reset(seed=3)
        for a, b in zip(self.rollout(careful), self.rollout(careless), strict=True):
            assert_same(a, b)
            b[0][:] = -1
            for value in b[4].values():
                if isinstance(value, np.ndarray):
                    value.fill(-1)

    def test_the_same_seed_gives_the_same_five_values_bit_for_bit(self) -> None:
        one, two = self.make_env(), self.make_env()
        assert_same(one.reset(seed=5), two.reset(seed=5))
        for a, b in zip(self.rollout(one, episodes=3), self.rollout(two, episodes=3), strict=True):
            assert_same(a, b)

    def test_another_seed_gives_another_episode(self) -> None:
        env = self.make_env()
        first, second, again = (env.reset(seed=seed)[0] for seed in (5, 6, 5))
        assert not np.array_equal(first, second)
        np.testing.assert_array_equal(first, again)

    def test_without_a_seed_the_stream_goes_on(self) -> None:
        env = self.make_env()
        starts = [env.reset(seed=5 if i == 0 else None)[0] for i in range(3)]
        assert not np.array_equal(starts[0], starts[1])
        assert not np.array_equal(starts[1], starts[2])
        # However much of an episode was played, the next one is the same.
        env.reset(seed=5)
        env.step(env.action_space.sample())
        np.testing.assert_array_equal(env.reset()[0], starts[1])

    def test_global_generators_are_not_touched(self) -> None:
        before = _global_generators()
        env = self.make_env()
        env.reset(seed=1)
        for _ in self.rollout(env):
            pass
        env.get_wrapper_attr("evaluate")("target")
        assert _global_generators() == before

    def test_the_budget_is_used_up_exactly_and_ends_the_episode(self) -> None:
        env = self.make_env()
        config, episodes = env.get_wrapper_attr("config"), env.get_wrapper_attr("episodes")
        epoch = len(episodes.population.pairs[0].train) // config.batch_size
        points = decision_points(config.windows, config.window, config.budget, epoch)
        assert points[0] == (0 if config.windows == "fixed" else config.window)
        steps = list(self.rollout(env))
        assert len(steps) == episodes.n_steps() + 1
        assert [step[2] for step in steps] == [False] * len(points) + [True]
        assert not any(step[3] for step in steps)
        assert [step[4]["updates"] for step in steps] == [*points, config.budget]

    def test_rewards_telescope(self) -> None:
        env = self.make_env(reward="proxy_guided")
        env.reset(seed=0)
        steps = list(self.rollout(env))
        gained = steps[-1][4]["value"] - steps[0][4]["value"]
        assert sum(step[1] for step in steps) == pytest.approx(gained, abs=1e-12)
        assert abs(gained) > 1e-3

    def test_going_on_from_a_state_equals_never_having_stopped(self) -> None:
        env, other = self.make_env().unwrapped, self.make_env().unwrapped
        env.reset(seed=7)
        env.action_space.seed(0)
        actions = [env.action_space.sample() for _ in range(6)]
        env.step(actions[0])
        state = env.get_state()  # type: ignore[attr-defined]

        def remaining(each: Any) -> list[Any]:
            found: list[Any] = []
            while not found or not found[-1][2]:
                found.append(each.step(actions[1 + len(found)]))
            return [*found, each.reset(), each.step(actions[0])]

        expected = remaining(env)
        for each in (other, env, other):  # also a second time: a state is a copy
            each.set_state(state)  # type: ignore[attr-defined]
            assert_same(remaining(each), expected)

    @pytest.mark.parametrize("duplicate", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
    @pytest.mark.parametrize("started", [True, False])
    def test_a_copy_goes_on_alike(self, duplicate: Any, started: bool) -> None:
        env = self.make_env()
        env.reset(seed=7)
        actions = [env.action_space.sample() for _ in range(3)]
        if started:
            env.step(actions[0])
        else:
            env = self.make_env()
        clone = duplicate(env)
        assert clone.spec == env.spec
        assert clone.observation_space == env.observation_space
        if not started:
            assert_same(env.reset(seed=1), clone.reset(seed=1))
        for action in actions[1:]:
            assert_same(env.step(action), clone.step(action))
        assert_same(env.reset(), clone.reset())

    def test_no_step_without_an_episode(self) -> None:
        env = self.make_env().unwrapped
        action = env.action_space.sample()
        with pytest.raises(ResetNeeded, match=r"no running episode.*call reset\(\)"):
            env.step(action)
        env.reset(seed=0)
        while not env.step(action)[2]:
            pass
        with pytest.raises(ResetNeeded, match=r"has ended; call reset\(\)"):
            env.step(action)
        env.reset()
        env.step(action)

    def test_a_bad_action_changes_nothing(self) -> None:
        env, other = self.make_env(), self.make_env()
        for each in (env, other):
            each.reset(seed=0)
        n = env.get_wrapper_attr("action_space").shape[0]
        good = env.action_space.sample()
        for bad, message in ((np.full(n, np.nan), "without NaN"), (np.zeros(n + 1), rf"expected \({n},\)")):
            with pytest.raises(ConfigError, match=message):
                env.unwrapped.step(bad)
        assert_same(env.step(good), other.step(good))

    def test_a_bad_reset_changes_nothing(self) -> None:
        env, other = self.make_env(), self.make_env()
        for each in (env, other):
            each.reset(seed=0)
        with pytest.raises(ConfigError, match=r"Unknown reset option 'pairs'\. Did you mean 'pair'\?"):
            env.reset(options={"pairs": "tiny"})
        with pytest.raises(ConfigError, match=r"Unknown pair of this environment 'tyni'\. Did you mean 'tiny'\?"):
            env.reset(seed=3, options={"pair": "tyni"})
        assert_same(env.reset(), other.reset())

    def test_renders_a_picture(self) -> None:
        env = self.make_env(render_mode="rgb_array")
        env.reset(seed=0)
        state = env.unwrapped.get_state()  # type: ignore[attr-defined]
        frames = [env.render()]
        env.step(env.action_space.sample())
        frames.append(env.render())
        for frame in frames:
            assert isinstance(frame, np.ndarray)
            assert frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3
            assert frame.std() > 1
        assert not np.array_equal(frames[0], frames[1])  # type: ignore[arg-type]
        env.unwrapped.set_state(state)  # type: ignore[attr-defined]
        assert np.array_equal(env.render(), frames[0])  # type: ignore[arg-type]
        assert self.make_env().unwrapped.render() is None


class VectorConformance:
    """Checks of a population, beside single environments of the same settings."""

    tolerance = 1e-4
    """A population may be one batched graph, a single environment another: rounding differs, in cosines the most."""

    def make_env(self, **config: Any) -> gymnasium.Env[Any, Any]:
        """Makes a single environment."""
        raise NotImplementedError

    def make_vec(self, num_envs: int = 3, **config: Any) -> VectorEnv[Any, Any, Any]:
        """Makes a population of the same settings."""
        raise NotImplementedError

    def actions(self, venv: VectorEnv[Any, Any, Any], step: int) -> NDArray[Any]:
        """The actions of a step of the comparisons."""
        venv.action_space.seed(step)
        return venv.action_space.sample()

    @pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP], ids=lambda mode: mode.value)
    def test_equals_single_environments_side_by_side(self, mode: AutoresetMode) -> None:
        mine = self.make_vec(3, autoreset_mode=mode)
        theirs = SyncVectorEnv([self.make_env] * 3, autoreset_mode=mode)
        assert mine.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"] == mode
        both: tuple[Any, Any] = mine, theirs
        for space in ("observation_space", "action_space", "single_observation_space", "single_action_space"):
            assert getattr(mine, space) == getattr(theirs, space)
        (obs, info), (expected, expected_info) = (each.reset(seed=[4, 2, 9]) for each in both)
        np.testing.assert_allclose(obs, expected, atol=self.tolerance)
        assert_close(info, expected_info, self.tolerance)
        ended = 0
        for step in count():
            actions = self.actions(mine, step)
            a, b = mine.step(actions), theirs.step(actions)
            for x, y in zip(a[:4], b[:4], strict=True):
                assert x.dtype == y.dtype
                np.testing.assert_allclose(x, y, atol=self.tolerance)
            assert ("final_obs" in a[4]) == ("final_obs" in b[4]) == (mode == AutoresetMode.SAME_STEP and b[2].any())
            assert_close(a[4], b[4], self.tolerance)
            if "final_obs" in a[4]:
                assert [x is None for x in a[4]["final_obs"]] == [not end for end in a[2]]
            ended += int(a[2].sum())
            if ended >= 6:  # two episodes of each
                break

    def test_the_same_seed_gives_the_same_five_values_bit_for_bit(self) -> None:
        one, two = self.make_vec(), self.make_vec()
        assert_same(one.reset(seed=5), two.reset(seed=5))
        for step in range(7):
            assert_same(one.step(self.actions(one, step)), two.step(self.actions(two, step)))

    def test_streams_do_not_depend_on_how_many_there_are(self) -> None:
        few, many = self.make_vec(2).reset(seed=5)[0], self.make_vec(4).reset(seed=5)[0]
        np.testing.assert_allclose(few, many[:2], atol=self.tolerance)
        assert len(np.unique(many.round(3), axis=0)) == 4
        assert not np.allclose(many[0], self.make_vec(4).reset(seed=6)[0][0], atol=1e-3)

    @pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.value)
    def test_going_on_from_a_state_equals_never_having_stopped(self, mode: AutoresetMode) -> None:
        venv, other = (self.make_vec(autoreset_mode=mode) for _ in range(2))
        venv.reset(seed=7)
        n_steps = venv.episodes.n_steps()  # type: ignore[attr-defined]

        def play(each: Any) -> list[Any]:
            found = []
            for step in range(n_steps):
                found.append(each.step(self.actions(venv, step)))
                if mode == AutoresetMode.DISABLED and found[-1][2].any():
                    found.append(each.reset(options={"reset_mask": found[-1][2]}))
            return found

        play(venv)  # to where NEXT_STEP has to remember that episodes have ended
        state, clone = venv.get_state(), pickle.loads(pickle.dumps(venv))  # type: ignore[attr-defined]
        assert clone.spec == venv.spec
        expected = [*play(venv), venv.reset()]
        other.set_state(state)  # type: ignore[attr-defined]
        for each in (other, clone):
            assert_same([*play(each), each.reset()], expected)

    def test_global_generators_are_not_touched(self) -> None:
        before = _global_generators()
        venv = self.make_vec()
        venv.reset(seed=1)
        for step in range(6):
            venv.step(self.actions(venv, step))
        assert _global_generators() == before
