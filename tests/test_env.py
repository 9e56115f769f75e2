"""The single environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import l2o_env  # noqa: F401 - registers the ids
from l2o_env.action import encode
from l2o_env.config import EnvConfig
from l2o_env.env import Syn2RealEnv
from l2o_env.errors import ConfigError
from l2o_env.observation import FEATURE_NAMES, feature_table, split_layers
from tests.conformance import EnvConformance, assert_same, sb3_check_env
from tests.tiny import TINY, settings_of

IDS = sorted(name for name in gymnasium.registry if name.startswith("l2o_env/"))
ACTIONS = ("log", "relative", "relative_update", "discrete")
REWARDS = ("transfer", "proxy_guided", "val_loss", "val_accuracy", "train_loss", "target_oracle")
MakeEnv = Callable[..., Syn2RealEnv]


@pytest.mark.usefixtures("tiny")
class TestEveryId(EnvConformance):
    """The conformance tests, applied to every id that this package registers."""

    @pytest.fixture(autouse=True, params=IDS)
    def _id(self, request: pytest.FixtureRequest) -> None:
        self.id: str = request.param

    def make_env(self, **config: Any) -> gymnasium.Env[Any, Any]:
        return gymnasium.make(self.id, **{**settings_of(self.id), **config})


@pytest.mark.usefixtures("tiny")
class TestDiscrete(EnvConformance):
    """Likewise with the other kind of action space, another reward, and a stacked population of one."""

    def make_env(self, **config: Any) -> gymnasium.Env[Any, Any]:
        settings = {"action": "discrete", "reward": "val_accuracy", "implementation": "stacked"}
        return gymnasium.make("l2o_env/Syn2Real-v0", **{**TINY, **settings, **config})


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("reward", REWARDS)
def test_the_checkers_find_nothing_for_any_action_form_and_reward(
    tiny: str, env_id: str, action: str, reward: str
) -> None:
    short = {"budget": 2, "window": 1, "batch_size": 4}
    env = gymnasium.make(env_id, **{**TINY, **short, "action": action, "reward": reward})
    gymnasium.utils.env_checker.check_env(env.unwrapped, skip_render_check=True)
    sb3_check_env(env)


def _play(
    env: Syn2RealEnv, rates: list[float] | None = None, seed: int = 0
) -> tuple[list[float], list[dict[str, Any]]]:
    """Rewards and infos of an episode with constant rates, or with random actions."""
    infos, rewards = [env.reset(seed=seed)[1]], []
    env.action_space.seed(0)
    terminated = False
    while not terminated:
        action = env.action_space.sample() if rates is None else encode(np.array(rates), env.config)
        _, reward, terminated, _, info = env.step(action)
        rewards.append(reward)
        infos.append(info)
    return rewards, infos


@pytest.mark.parametrize(
    ("optimizer", "rates", "expected"),
    [
        ("sgd", [0.01, 0.03, 0.1], [0.0500406, 0.1279703, 0.0091617]),
        (None, [1e-3, 3e-3, 1e-2], [0.0316235, 0.0473421, 0.0405029]),
    ],
)
@pytest.mark.parametrize("implementation", ["stacked", "looped"])
def test_a_golden_episode(
    make_env: MakeEnv, implementation: str, optimizer: str | None, rates: list[float], expected: list[float]
) -> None:
    value: dict[str, Any] = {"reward": "proxy_guided", "kl_weight": 1}
    env = make_env(budget=9, implementation=implementation, optimizer=optimizer or EnvConfig().optimizer, **value)
    assert env.config.optimizer == (optimizer or "adamw")
    rewards, infos = _play(env, rates)
    np.testing.assert_allclose(rewards, expected, atol=1e-5)
    np.testing.assert_allclose(infos[0]["value"], -1.2390749, atol=1e-5)


@pytest.mark.parametrize("reward", ["transfer", "proxy_guided"])
def test_training_well_is_rewarded_and_training_badly_punished(make_env: MakeEnv, reward: str) -> None:
    good, infos = _play(make_env(budget=120, window=20, reward=reward), [0.01, 0.03, 0.1])
    assert infos[-1]["val_ce"] < infos[0]["val_ce"] - 0.3
    assert sum(good) > 0.3
    bad, infos = _play(make_env(budget=30, window=10, lr_max=10.0, reward=reward), [5.0, 5.0, 5.0])
    assert infos[-1]["val_ce"] > infos[0]["val_ce"]
    # Whoever calls all images one class may be right more often than a head that was just drawn.
    assert sum(bad) < (sum(good) if reward == "transfer" else 0)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_relative_update_moves_layers_as_far_as_was_asked_for(make_env: MakeEnv, optimizer: str) -> None:
    wide = {"lr_min": 1e-8, "lr_max": 1.0, "update_ratio_min": 1e-4, "update_ratio_max": 1e-2}
    env = make_env(action="relative_update", optimizer=optimizer, budget=60, **wide)
    env.reset(seed=0)
    moved = np.array([env.step(np.zeros(3))[4]["update_ratio"] for _ in range(20)])
    # Whatever the first window did, the rates soon follow; how far a rate moves a layer differs between windows.
    ratio = moved[5:] / 1e-3
    assert 0.9 < np.exp(np.log(ratio).mean()) < 1.1
    assert np.abs(np.log(ratio)).max() < np.log(3)
    # What the last window moved is part of the state.
    env.reset(seed=1)
    env.step(np.zeros(3))
    other = make_env(**vars(env.config))
    other.set_state(env.get_state())
    assert_same(other.step(np.ones(3)), env.step(np.ones(3)))


@pytest.mark.parametrize("reward", REWARDS)
def test_returns_telescope(make_env: MakeEnv, reward: str) -> None:
    rewards, infos = _play(make_env(reward=reward, kl_weight=0.5, guidance_weight=2.0))
    values = {
        "transfer": lambda m: m["shifted_accuracy"] - 0.5 * m["shifted_kl"],
        "proxy_guided": lambda m: -(m["val_ce"] + 0.5 * m["val_kl"]),
        "val_loss": lambda m: -m["val_ce"],
        "val_accuracy": lambda m: m["val_accuracy"],
        "train_loss": lambda m: -(m["train_ce"] + 2.0 * m["train_kl"]),
        "target_oracle": lambda m: m["target_accuracy"],
    }
    assert sum(rewards) == pytest.approx(values[reward](infos[-1]) - values[reward](infos[0]), abs=1e-12)
    for info in infos:
        assert info["value"] == values["transfer" if reward == "transfer" else "proxy_guided"](info)
        assert ("shifted_kl" in info) == (reward == "transfer")
        assert ("target_accuracy" in info) == (reward == "target_oracle")


def test_the_observation_says_what_the_info_says(make_env: MakeEnv) -> None:
    env = make_env()
    _, before = env.reset(seed=0)
    obs, _, _, _, info = env.step(encode(np.array([0.01, 0.03, 0.1]), env.config))
    layers = dict(zip(FEATURE_NAMES, split_layers(obs).T, strict=True))
    np.testing.assert_allclose(info["lr"], [0.01, 0.03, 0.1], rtol=1e-5)
    np.testing.assert_allclose(10 ** layers["lr"], info["lr"], rtol=1e-5)
    for name in ("task_rms", "update_ratio", "drift"):
        np.testing.assert_allclose(10 ** layers[name], info[name], rtol=1e-4, err_msg=name)
    for name in ("cosine", "alignment"):
        np.testing.assert_allclose(layers[name], info[name], atol=1e-6, err_msg=name)
    for name in ("train_ce", "train_kl", "val_ce", "val_kl"):
        np.testing.assert_allclose(layers[name], info[name], atol=1e-6, err_msg=name)
        np.testing.assert_allclose(layers[f"{name}_change"], info[name] - before[name], atol=1e-6, err_msg=name)
    np.testing.assert_allclose(layers["progress"], 3 / 7, atol=1e-6)


def test_actions_set_the_rates(make_env: MakeEnv) -> None:
    env = make_env(action="relative", base_lr=0.01, relative_scale=3.0, lr_max=0.05)
    _, info = env.reset(seed=0)
    np.testing.assert_allclose(info["lr"], 0.01)
    for expected in (0.03, 0.05, 0.05):
        info = env.step(np.ones(3, np.float32))[4]
        np.testing.assert_allclose(info["lr"], expected)
    _, info = env.reset()
    np.testing.assert_allclose(info["lr"], 0.01)
    env = make_env(action="discrete", base_lr=0.1)
    env.reset(seed=0)
    np.testing.assert_allclose(env.step(np.array([0, 5, 10]))[4]["lr"], [0.0, 0.05, 0.1])


@pytest.mark.parametrize("implementation", ["stacked", "looped"])
@pytest.mark.parametrize("reward", REWARDS)
def test_divergence(make_env: MakeEnv, implementation: str, reward: str) -> None:
    env = make_env(lr_max=1e38, reward=reward, implementation=implementation, divergence_penalty=4.0)
    env.reset(seed=0)
    _, first, _, _, before = env.step(encode(np.array([0.01, 0.03, 0.1]), env.config))
    population = env.episodes.population
    weights, accuracy = population.weights.clone(), env.evaluate("target")
    obs, reward_, terminated, truncated, info = env.step(np.ones(3, np.float32))
    assert (terminated, truncated, info["diverged"]) == (True, False, True)
    assert reward_ == -4.0
    assert env.observation_space.contains(obs)
    assert np.isfinite(obs).all()
    assert torch.equal(population.weights, weights)  # the last finite ones
    assert env.evaluate("target") == accuracy
    for name in ("value", "train_ce", "train_kl", "val_ce", "val_kl", "val_accuracy"):
        assert info[name] == before[name], name
    assert np.isfinite(first)
    assert not before["diverged"]
    # The next episode is an ordinary one.
    _, infos = _play(env, [0.01, 0.03, 0.1])
    assert not infos[-1]["diverged"]


def _pair(env: Syn2RealEnv, **reset: Any) -> str:
    """Name of the pair of a new episode; its info tells the place in the settings."""
    _, info = env.reset(**reset)
    assert env.config.pairs[info["pair"]] == env.pair_name
    return env.pair_name


def test_infos_hold_numbers_and_arrays_alone(make_env: MakeEnv) -> None:
    # Other packages collate them, and have names of their own: TorchRL's tensordict calls the reward `reward`.
    env = make_env()
    for info in (env.reset(seed=0)[1], env.step(env.action_space.sample())[4]):
        assert "reward" not in info
        for key, value in info.items():
            assert isinstance(value, bool | np.number | np.ndarray), key


class TestPairs:
    """How the pair of an episode is chosen."""

    def test_is_drawn_from_the_stream(self, make_env: MakeEnv, tinies: tuple[str, str]) -> None:
        env = make_env(pairs=tinies)
        drawn = [_pair(env, seed=0 if i == 0 else None) for i in range(12)]
        assert set(drawn) == set(tinies)
        assert drawn == [_pair(env, seed=0 if i == 0 else None) for i in range(12)]

    def test_option_holds_until_another(self, make_env: MakeEnv, tinies: tuple[str, str]) -> None:
        env = make_env(pairs=tinies)
        assert _pair(env, seed=0, options={"pair": "tiny-4"}) == "tiny-4"
        assert {_pair(env) for _ in range(8)} == {"tiny-4"}
        assert _pair(env, options={"pair": "tiny"}) == "tiny"
        assert {_pair(env, options={}) for _ in range(8)} == {"tiny"}
        drawn = {_pair(env, options={"pair": None}), *(_pair(env) for _ in range(8))}
        assert drawn == set(tinies)

    def test_option_changes_nothing_else_of_the_episode(self, make_env: MakeEnv, tinies: tuple[str, str]) -> None:
        env = make_env(pairs=tinies)
        drawn = env.reset(seed=1)
        assert_same(env.reset(seed=1, options={"pair": env.pair_name}), drawn)

    def test_option_is_part_of_the_state(self, make_env: MakeEnv, tinies: tuple[str, str]) -> None:
        env, other = make_env(pairs=tinies), make_env(pairs=tinies)
        env.reset(seed=0, options={"pair": "tiny-4"})
        other.set_state(env.get_state())
        assert {_pair(other) for _ in range(8)} == {"tiny-4"}

    def test_of_another_environment_is_refused(self, make_env: MakeEnv, tinies: tuple[str, str]) -> None:
        with pytest.raises(ConfigError, match=r"Unknown pair of this environment 'tiny-4'.*Known: 'tiny'"):
            make_env().reset(options={"pair": "tiny-4"})


def test_evaluation_reads_what_it_says(make_env: MakeEnv) -> None:
    env = make_env()
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"call reset\(\)"):
        env.evaluate("target")
    env.reset(seed=0)
    assert 0 <= env.evaluate("target") <= 1
    # An optimizee starts as its proxy: the accuracy of the proxy's head is the proxy's.
    pair = env.episodes.population.pairs[0]
    with torch.no_grad():
        predicted = pair.proxy(pair.proxy_test.images).argmax(-1)
    assert env.evaluate("proxy_test") == pytest.approx((predicted == pair.proxy_test.labels).float().mean().item())


def test_evaluation_leaves_no_trace(make_env: MakeEnv) -> None:
    env, other = make_env(), make_env()
    for each in (env, other):
        each.reset(seed=0)
    for _ in range(3):
        env.evaluate("target")
        env.evaluate("proxy_test")
        assert_same(env.step(np.zeros(3)), other.step(np.zeros(3)))


def test_layer_names(make_env: MakeEnv) -> None:
    assert make_env().layer_names == ("stem", "layer1", "head")


def test_the_docstring_shows_the_features() -> None:
    assert Syn2RealEnv.__doc__ is not None
    assert all(row in Syn2RealEnv.__doc__ for row in feature_table().splitlines())
    assert "{" not in Syn2RealEnv.__doc__.replace('{"pair": name}', "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pairs": "tinny"}, r"Unknown pair 'tinny'\. Did you mean 'tiny'\? Known: 'tiny'"),
        ({"device": "gpu0"}, r"Device 'gpu0' is not there"),
        ({"reward": "value"}, r"Unknown reward 'value'\. .*Known: 'proxy_guided'"),
        ({"windw": 3}, r"Unknown setting 'windw'\. Did you mean 'window'\?"),
        ({"render_mode": "human"}, r"Unknown render mode 'human'\. Known: 'rgb_array'"),
    ],
)
def test_bad_settings_are_one_clear_error(make_env: MakeEnv, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_env(**settings)


def test_a_keyword_that_is_no_setting_is_a_type_error_too(make_env: MakeEnv) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'frameskip'"):
        make_env(frameskip=1)


def test_settings_come_from_gymnasium_make(tiny: str) -> None:
    env = gymnasium.make("l2o_env/Syn2Real-v0", **{**TINY, "budget": 5, "window": 5})
    assert env.get_wrapper_attr("config") == EnvConfig(**{**TINY, "budget": 5, "window": 5})
