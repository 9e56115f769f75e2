"""REINFORCE: its log-probabilities, its noise, an update, saving and loading."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.algorithms import PRESETS, ReinforceConfig
from agents.base import Agent, Learner
from agents.reinforce import Reinforce
from agents.reinforce.population_learner import Segment
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.models.base import new_generator
from l2o_env.observation import N_FEATURES
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.tiny import TINY

CONFIG = EnvConfig(**{**TINY, "budget": 12, "common_random_numbers": True})


@pytest.fixture
def venv(tiny: str) -> Syn2RealVectorEnv:
    venv = Syn2RealVectorEnv(8, **{**TINY, "budget": 12, "common_random_numbers": True})
    venv.reset(seed=0)
    return venv


def _observations(n: int = 2, n_layers: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, n_layers * N_FEATURES)).astype(np.float32)


def test_is_an_agent() -> None:
    agent = Reinforce(CONFIG)
    assert isinstance(agent, Agent) and isinstance(agent, Learner)
    assert (agent.output, agent.config_overrides) == ("action", {})


def test_log_prob_is_that_of_the_joint_gaussian() -> None:
    agent = Reinforce(CONFIG, config=ReinforceConfig(noise_std=0.4, noise_correlation=0.8))
    generator = new_generator(0)
    actions, outputs = torch.randn(5, 1, 1, generator=generator), torch.randn(5, 1, 1, 1, generator=generator)
    covariance = 0.4**2 * torch.tensor([[0.8 ** abs(i - j) for j in range(5)] for i in range(5)])
    joint = torch.distributions.MultivariateNormal(outputs.flatten().tanh(), covariance)
    log_prob, entropy, _ = agent.log_prob(actions, outputs, None)
    torch.testing.assert_close(log_prob.sum(), joint.log_prob(actions.flatten()), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(entropy.sum(), joint.entropy(), rtol=1e-4, atol=1e-4)


def test_log_prob_of_a_stretch_goes_on_from_the_noise_before_it() -> None:
    agent = Reinforce(CONFIG)
    generator = new_generator(0)
    actions, outputs = torch.randn(6, 2, 3, generator=generator), torch.randn(6, 2, 3, 1, generator=generator)
    whole, _, _ = agent.log_prob(actions, outputs, None)
    first, _, noise = agent.log_prob(actions[:4], outputs[:4], None)
    second, _, _ = agent.log_prob(actions[4:], outputs[4:], noise)
    torch.testing.assert_close(torch.cat([first, second]), whole)


def test_exploration_noise_has_the_stated_spread_and_correlation() -> None:
    agent = Reinforce(CONFIG, config=ReinforceConfig(noise_std=0.3, noise_correlation=0.9), seed=1)
    observations = np.zeros((2000, 3 * N_FEATURES), np.float32)
    first, state = agent.act(observations, None, deterministic=False)
    second, _ = agent.act(observations, state, deterministic=False)
    assert first.std() == pytest.approx(0.3, rel=0.05)
    assert second.std() == pytest.approx(0.3, rel=0.05)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] == pytest.approx(0.9, abs=0.02)


def test_an_update_keeps_to_its_divergence(venv: Syn2RealVectorEnv) -> None:
    def divergences(target: float | None) -> list[float]:
        records: list[dict[str, Any]] = []
        config = ReinforceConfig(learning_rate=0.1, target_kl=target)
        Reinforce(CONFIG, config=config, seed=1).learn(venv, 24, callback=records.append)
        return [r["approx_kl"] for r in records]

    assert max(divergences(None)) > 0.05
    assert max(divergences(0.01)) < 0.015


def test_mirrored_noise_cancels_over_the_halves_of_a_population() -> None:
    agent = Reinforce(CONFIG, config=ReinforceConfig(mirror_noise=True))
    torch.nn.init.zeros_(agent.policy.heads)
    state = None
    for _ in range(3):
        actions, state = agent.act(_observations(n=6), state, deterministic=False)
        np.testing.assert_allclose(actions[3:], -actions[:3], atol=1e-6)


@pytest.mark.parametrize(("action", "preset"), [("log", "default"), ("discrete", "default"), ("discrete", "asg")])
def test_save_and_load_give_the_same_actions(tiny: str, tmp_path: Path, action: str, preset: str) -> None:
    config = EnvConfig(pairs=(tiny,), action=action)  # type: ignore[arg-type]
    agent = Reinforce(config, config=PRESETS[preset], seed=2, n_layers=3)
    agent.policy.normaliser.update(torch.randn(10, N_FEATURES, generator=new_generator(0)))
    agent.save(tmp_path / "policy")
    loaded = Reinforce.load(tmp_path / "policy")
    observations = _observations()
    state, other = None, None
    for _ in range(3):
        actions, state = agent.act(observations, state, deterministic=True)
        same, other = loaded.act(observations, other, deterministic=True)
        assert np.array_equal(actions, same)
    assert loaded.config == agent.config
    assert sorted(path.name for path in (tmp_path / "policy").iterdir()) == ["policy.json", "policy.safetensors"]


def test_acting_leaves_the_normaliser_alone(venv: Syn2RealVectorEnv) -> None:
    agent = Reinforce(CONFIG).learn(venv, 8)
    before = agent.policy.normaliser.mean.clone()
    agent.act(_observations(), None, deterministic=True)
    assert torch.equal(agent.policy.normaliser.mean, before)
    assert agent.policy.normaliser.count > 0


def test_predict_forgets_rows_that_start_an_episode() -> None:
    agent = Reinforce(CONFIG)
    torch.nn.init.normal_(agent.policy.heads, generator=new_generator(0))
    observations = _observations()
    first, state = agent.predict(observations, deterministic=True)
    again, _ = agent.predict(observations, state, np.array([True, False]), deterministic=True)
    np.testing.assert_allclose(again[0], first[0], rtol=1e-5)
    assert not np.allclose(again[1], first[1])
    single, _ = agent.predict(observations[0], deterministic=True)
    np.testing.assert_allclose(single, first[0], rtol=1e-5)


def test_a_policy_that_was_saved_with_more_settings_is_judged_by_those_that_matter(tmp_path: Path) -> None:
    agent = Reinforce(CONFIG, seed=1)
    agent.save(tmp_path)
    description = json.loads((tmp_path / "policy.json").read_text())
    del description["sha256"]
    optimizer = {"optimizer": "sgd", "beta2": None, "weight_decay": 5e-4}
    assert description["action"] == {"action": "log", **optimizer, "lr_min": 1e-4, "lr_max": 0.3}
    for key in optimizer:  # of which files once did not tell
        del description["action"][key]
    description["action"] |= {"base_lr": 0.02, "relative_scale": 2.0}  # as files once had it
    (tmp_path / "policy.json").write_text(json.dumps(description))
    loaded = Reinforce.load(tmp_path)
    assert loaded.action_settings == agent.action_settings
    loaded.check_env(replace(CONFIG, base_lr=0.1))
    with pytest.raises(ConfigError, match="was trained with"):
        loaded.check_env(replace(CONFIG, lr_max=0.2))


def test_an_environment_with_other_actions_is_refused() -> None:
    agent = Reinforce(CONFIG)
    agent.check_env(CONFIG)
    with pytest.raises(ConfigError, match="was trained with"):
        agent.check_env(replace(CONFIG, action="discrete"))


def test_it_does_not_learn_from_actions_that_mean_something_else(make_vec: Callable[..., Syn2RealVectorEnv]) -> None:
    with pytest.raises(ConfigError, match=r"trained with .*'lr_max': 0\.3.* and the environment has .*'lr_max': 0\.2"):
        Reinforce(CONFIG).learn(make_vec(2, lr_max=0.2), 2)


def test_heads_per_layer_refuse_another_number_of_layers() -> None:
    agent = Reinforce(CONFIG, config=ReinforceConfig(per_layer_heads=True), n_layers=4)
    with pytest.raises(ConfigError, match="heads for 4 layer groups and got 3"):
        agent.act(_observations(n_layers=3), None, deterministic=True)


def test_heads_per_layer_need_their_number() -> None:
    with pytest.raises(ConfigError, match="n_layers"):
        Reinforce(CONFIG, config=PRESETS["asg"])


def test_it_can_set_the_weight_of_the_guidance(make_vec: Callable[..., Syn2RealVectorEnv], tmp_path: Path) -> None:
    venv = make_vec(4, action="log+guidance")
    observations, _ = venv.reset(seed=0)
    agent = Reinforce(venv.config, config=ReinforceConfig(learning_rate=0.05), seed=1)
    first, _ = agent.act(observations, None, deterministic=True)
    assert first.shape == (4, 4)
    np.testing.assert_allclose(first[:, -1], 0.0, atol=1e-6)  # the middle of the range
    agent.learn(venv, 24)
    learned, state = agent.act(observations, None, deterministic=True)
    assert np.abs(learned[:, -1]).max() > 1e-3
    assert agent.describe(observations, None, learned)["log_prob"].shape == (4, 4)
    agent.save(tmp_path)
    again = Reinforce.load(tmp_path)
    np.testing.assert_allclose(again.act(observations, None, True)[0], learned, rtol=1e-6)
    with pytest.raises(ConfigError, match="was trained with"):
        again.check_env(make_vec(2, action="log").config)
    kept = agent.forget(state, np.array([True, False, False, False]))
    assert not kept.hidden[0].any() and kept.hidden[1].any()


def test_it_learns_a_weight_that_pays(make_vec: Callable[..., Syn2RealVectorEnv]) -> None:
    """Rewarded for the last number of the action alone."""
    venv = make_vec(16, action="log+guidance", budget=3, window=3)
    observations, _ = venv.reset(seed=0)
    agent = Reinforce(venv.config, config=ReinforceConfig(learning_rate=0.1, target_kl=None), seed=1)
    for _ in range(20):
        actions, _ = agent.act(observations, None, deterministic=False)
        rewards = actions[:, -1].astype(np.float64)
        agent.update(Segment(None, [observations], [actions], [np.ones(16, np.bool_)], [rewards]))
    learned, _ = agent.act(observations, None, deterministic=True)
    assert learned[:, -1].min() > 0.3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"config": {"hidden_size": 9999}}, r"'policy\.cell\.weight_hh_l0' is \(96, 32\), and its description says"),
        ({"config": {"n_knots": 999}}, r"'policy\.table' is"),
        ({"n_heads": 10**9, "config": {"per_layer_heads": True}}, r"'policy\.heads' is"),
        ({"config": {"hidden_size": 2**200}}, "it holds the number"),
        ({"config": {"learning_rate": [1]}}, r"learning_rate is \[1\]; expected a number"),
        ({"config": [1]}, "it holds no JSON object"),
        ({"name": "x" * 10**6}, "its name is"),
        ({"episodes": -1}, "episodes is -1"),
        ({"action": {"action": ["log"]}}, "Unknown action form"),
    ],
)
def test_sizes_are_checked_before_anything_is_built(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    Reinforce(EnvConfig(pairs=("tiny",))).save(tmp_path)
    description = json.loads((tmp_path / "policy.json").read_text())
    del description["sha256"]
    (tmp_path / "policy.json").write_text(json.dumps({**description, **change}))
    with pytest.raises(ConfigError, match=told) as error:
        Reinforce.load(tmp_path)
    assert len(str(error.value)) < 500


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    agent = Reinforce(EnvConfig(pairs=("tiny",)))
    agent.policy.normaliser.var[0] = float("nan")
    agent.save(tmp_path)
    with pytest.raises(ConfigError, match=r"1 of \d+ numbers of 'policy\.normaliser\.var' are NaN or infinite"):
        Reinforce.load(tmp_path)


@pytest.mark.parametrize("file", ["policy.json", "policy.safetensors"])
def test_a_flipped_bit_is_seen(tmp_path: Path, file: str) -> None:
    Reinforce(EnvConfig(pairs=("tiny",))).save(tmp_path)
    content = bytearray((tmp_path / file).read_bytes())
    for k in range(9, len(content), len(content) // 20):
        flipped = content.copy()
        flipped[k] ^= 1
        (tmp_path / file).write_bytes(flipped)
        with pytest.raises(ConfigError):
            Reinforce.load(tmp_path)
    (tmp_path / file).write_bytes(content)
    Reinforce.load(tmp_path)
