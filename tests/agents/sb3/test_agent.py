"""Agents of Stable-Baselines3 and sb3-contrib: learning, saving, frozen statistics, networks of other depths."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from stable_baselines3 import PPO
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

import agents
from agents.algorithms.reinforce_config import ReinforceConfig
from agents.algorithms.sb3_config import SB3Config
from agents.algorithms.table import ALGORITHMS, configure
from agents.base import Agent, Learner
from agents.factory import make_learner
from agents.sb3.agent import SB3Agent
from agents.sb3.build import build
from agents.sb3.feature_statistics import FeatureStatistics
from agents.sb3.population_ars import PopulationARS
from agents.sb3.shared_policies import LayerEncoder, LayerHead
from agents.sb3.vec_env import PopulationVecEnv
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.rollout import run_episodes
from l2o_env.observation import FEATURE_NAMES, FEATURES, N_FEATURES
from l2o_env.vector_env import Syn2RealVectorEnv

MakeVec = Callable[..., Syn2RealVectorEnv]
NAMES = [name for name, algorithm in ALGORITHMS.items() if isinstance(algorithm.config, SB3Config)]
SHARED = [name for name in NAMES if name != "recurrent_ppo"]
SMALL: dict[str, dict[str, Any]] = {
    **{key: {"learning_starts": 8, "batch_size": 8} for key in ("sac", "td3", "ddpg", "tqc", "crossq", "dqn")},
    **{key: {"n_epochs": 2} for key in ("ppo", "recurrent_ppo", "maskable_ppo")},
    "a2c": {"n_steps": 3},
}


def _config(name: str) -> SB3Config:
    config = configure(name, SMALL.get(name, {}))
    assert isinstance(config, SB3Config)
    return config


def _agent(name: str, make_vec: MakeVec, seed: int = 0, n: int = 4, **config: Any) -> tuple[SB3Agent, Any]:
    form = ALGORITHMS[name].forms[0]
    venv = make_vec(n, action=form, common_random_numbers=ALGORITHMS[name].common_random_numbers, **config)
    venv.reset(seed=3)
    return SB3Agent(venv.config, algorithm=name, config=_config(name), n_layers=3, seed=seed), venv


def _observations(n: int = 2, n_layers: int = 3) -> np.ndarray:
    low, high = (np.array([getattr(f, side) for f in FEATURES]) for side in ("low", "high"))
    drawn = np.random.default_rng(0).uniform(size=(n, n_layers, N_FEATURES)) * (high - low) + low
    drawn[..., FEATURE_NAMES.index("lr")] = -2.0
    return drawn.reshape(n, -1).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_every_algorithm_trains_on_its_budget_and_is_saved(name: str, make_vec: MakeVec, tmp_path: Path) -> None:
    agent, venv = _agent(name, make_vec)
    assert isinstance(agent, Agent) and isinstance(agent, Learner)
    before = {key: value.clone() for key, value in agent.policy.state_dict().items()}
    records: list[dict[str, Any]] = []
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[union-attr, index]
    agent.learn(venv, 16, callback=records.append)
    assert [record["episode"] for record in records] == [4, 8, 12, 16]
    assert agent.episodes == 16 and venv.episodes.updates_made == 16 * venv.config.budget
    changed = [key for key, value in agent.policy.state_dict().items() if not torch.equal(value, before[key])]
    assert changed, "nothing was learned"
    assert any(key.startswith("train/") for key in records[-1]) or name == "trpo"
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[2])
    assert np.array_equal(np.random.get_state()[1], states[1])  # type: ignore[index]
    agent.save(tmp_path)
    loaded = agents.load(tmp_path)
    assert isinstance(loaded, SB3Agent)
    assert (loaded.algorithm, loaded.config, loaded.episodes) == (name, agent.config, 16)
    state_a = state_b = None
    for seed in range(2):
        observations = _observations(3) + np.float32(0.01 * seed)
        a, state_a = agent.act(observations, state_a, True)
        b, state_b = loaded.act(observations, state_b, True)
        np.testing.assert_array_equal(a, b)
        assert a.shape == (3, 3)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["policy.json", "policy.safetensors"]


def test_training_ends_on_its_budget_in_the_middle_of_a_rollout(make_vec: MakeVec) -> None:
    venv = make_vec(4)
    venv.reset(seed=3)
    config = replace(_config("ppo"), n_steps=2, batch_size=8)  # of three steps of an episode
    records: list[dict[str, Any]] = []
    agent = SB3Agent(venv.config, algorithm="ppo", config=config, n_layers=3).learn(venv, 4, callback=records.append)
    assert (agent.episodes, venv.episodes.updates_made, len(records)) == (4, 4 * venv.config.budget, 1)


def test_episodes_of_asgs_windows_are_counted_as_they_are(make_vec: MakeVec) -> None:
    venv = make_vec(4, budget=30, windows="asg")
    steps = venv.episodes.n_steps()
    assert steps != -(-30 // venv.config.window)  # those of fixed windows
    venv.reset(seed=3)
    records: list[dict[str, Any]] = []
    agent = SB3Agent(venv.config, algorithm="ppo", config=replace(_config("ppo"), n_steps=steps), n_layers=3)
    agent.learn(venv, 8, callback=records.append)
    assert [record["episode"] for record in records] == [4, 8] and agent.episodes == 8
    assert [record["time/total_timesteps"] for record in records] == [4 * steps, 8 * steps]


def test_records_hold_the_returns_of_the_environment(make_vec: MakeVec) -> None:
    agent, venv = _agent("ppo", make_vec, n=2)
    seen: list[np.ndarray] = []
    step = venv.step
    venv.step = lambda actions: seen.append(step(actions)) or seen[-1]  # type: ignore[method-assign, assignment, func-returns-value]
    records: list[dict[str, Any]] = []
    agent.learn(venv, 4, callback=records.append)
    rewards = np.array([result[1] for result in seen]).reshape(2, 3, 2).sum(1)
    np.testing.assert_allclose([record["return_mean"] for record in records], rewards.mean(1), rtol=1e-5)
    np.testing.assert_allclose([record["return_std"] for record in records], rewards.std(1), rtol=1e-4)
    values = [seen[k][4]["value"].mean() for k in (2, 5)]
    np.testing.assert_allclose([record["value_mean"] for record in records], values, rtol=1e-5)
    assert {record["pair"] for record in records} == {"tiny"}


def test_the_same_seed_learns_the_same(make_vec: MakeVec) -> None:
    weights = []
    for seed in (0, 0, 1):
        agent, venv = _agent("sac", make_vec, seed)
        agent.learn(venv, 8)
        weights.append(torch.nn.utils.parameters_to_vector(agent.policy.parameters()))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_ctrl_c_in_a_callback_leaves_the_policy_so_far(make_vec: MakeVec, tmp_path: Path) -> None:
    agent, venv = _agent("td3", make_vec)

    def interrupt(record: dict[str, Any]) -> None:
        if record["episode"] == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        agent.learn(venv, 16, callback=interrupt)
    assert agent.episodes == 8
    agent.save(tmp_path)
    np.testing.assert_array_equal(
        agents.load(tmp_path).act(_observations(), None, True)[0], agent.act(_observations(), None, True)[0]
    )


def test_learning_goes_on_from_the_policy_there_is(make_vec: MakeVec, tmp_path: Path) -> None:
    agent, venv = _agent("ars", make_vec)
    agent.learn(venv, 8).save(tmp_path)
    again = SB3Agent.load(tmp_path)
    expected = again.act(_observations(), None, True)[0]
    assert np.abs(expected).max() > 1e-3
    again.learn(venv, 4)
    assert again.episodes == 12
    moved = np.abs(again.act(_observations(), None, True)[0] - expected).max()
    assert 0 < moved < 0.5


def test_feature_statistics_are_those_of_vecnormalize_and_frozen_in_evaluation(make_vec: MakeVec) -> None:
    venv = make_vec(2)
    statistics = FeatureStatistics(3, shared=True)
    env = VecNormalize(PopulationVecEnv(venv), clip_obs=5.0)
    env.obs_rms = statistics  # type: ignore[assignment]
    normalised = env.reset()
    np.testing.assert_allclose(statistics.normalise(env.get_original_obs(), 5.0), normalised, atol=1e-5)  # type: ignore[arg-type]
    rows = env.get_original_obs().reshape(-1, N_FEATURES).astype(np.float64)  # type: ignore[union-attr]
    expected = RunningMeanStd(shape=(N_FEATURES,))
    fresh = FeatureStatistics(1, shared=True)
    expected.mean, expected.var, expected.count = fresh.mean, fresh.var, fresh.count
    expected.update(rows)
    np.testing.assert_allclose(statistics.mean.reshape(3, -1), np.tile(expected.mean, (3, 1)))
    np.testing.assert_allclose(statistics.var.reshape(3, -1), np.tile(expected.var, (3, 1)))
    assert statistics.count == 100 + 6
    depth = FEATURE_NAMES.index("depth")
    assert np.ptp(normalised.reshape(2, 3, -1)[0, :, depth]) > 0.5  # type: ignore[union-attr]  # layers stay apart
    agent, population = _agent("ppo", make_vec)
    agent.learn(population, 4)
    before = agent.statistics.mean.copy(), agent.statistics.count
    run_episodes(population, agent, seeds=[1, 2, 3, 4])
    assert np.array_equal(agent.statistics.mean, before[0]) and agent.statistics.count == before[1] > 100


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_actor_runs_on_other_depths_and_does_not_mind_the_order(name: str, make_vec: MakeVec) -> None:
    agent, _ = _agent(name, make_vec)
    for parameter in agent.policy.parameters():  # so that actions differ from the start
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    two = _observations(4, 2)
    actions, _ = agent.act(two, None, True)
    assert actions.shape == (4, 2)
    doubled = np.concatenate([two, two], axis=1)  # the same means over the layers
    if name != "dqn":
        np.testing.assert_allclose(agent.act(doubled, None, True)[0], np.tile(actions, 2), atol=1e-5)
        swapped = two.reshape(4, 2, -1)[:, ::-1].reshape(4, -1)
        np.testing.assert_allclose(agent.act(swapped, None, True)[0], actions[:, ::-1], atol=1e-5)
    else:
        np.testing.assert_array_equal(actions[:, 0], actions[:, 1])
    assert len(np.unique(actions)) > 1


@pytest.mark.parametrize("name", ["ppo", "sac", "td3", "ars", "recurrent_ppo"])
def test_the_weight_of_the_guidance_is_an_action_of_the_whole_network(name: str, make_vec: MakeVec) -> None:
    venv = make_vec(2, action="log+guidance")
    venv.reset(seed=0)
    agent = SB3Agent(venv.config, algorithm=name, config=_config(name), n_layers=3)
    assert agent.act(_observations(), None, True)[0].shape == (2, 4)
    agent.learn(venv, 2)
    assert agent.episodes == 2
    if name != "recurrent_ppo":
        assert agent.act(_observations(2, 2), None, True)[0].shape == (2, 3)


def test_a_policy_that_is_not_shared_names_both_numbers_of_layers(make_vec: MakeVec) -> None:
    for name in ("recurrent_ppo", "ppo"):
        agent = SB3Agent(
            make_vec().config, algorithm=name, config=replace(_config(name), layer_shared=False), n_layers=3
        )
        assert agent.act(_observations(), None, True)[0].shape == (2, 3)
        with pytest.raises(ConfigError, match="trained on networks of 3 layer groups and got one of 4"):
            agent.act(_observations(2, 4), None, True)
    with pytest.raises(ConfigError, match="layer_shared=true is not there for recurrent_ppo; it goes with ppo"):
        SB3Agent(
            make_vec().config, algorithm="recurrent_ppo", config=replace(_config("recurrent_ppo"), layer_shared=True)
        )
    agent, venv = _agent("ppo", make_vec)
    with pytest.raises(ConfigError, match="for networks of 4 layer groups; those of the population have 3"):
        SB3Agent(venv.config, algorithm="ppo", n_layers=4).learn(venv, 1)


def test_an_lstm_remembers_and_forgets(make_vec: MakeVec) -> None:
    agent, _ = _agent("recurrent_ppo", make_vec)
    observations = _observations(2)
    first, state = agent.predict(observations, deterministic=True)
    second, _ = agent.predict(observations, state, np.array([False, False]), deterministic=True)
    assert not np.array_equal(first, second)
    third, _ = agent.predict(observations, state, np.array([True, False]), deterministic=True)
    np.testing.assert_array_equal(third, np.stack([first[0], second[1]]))
    again, _ = agent.predict(observations, state, np.array([True, True]), deterministic=True)
    np.testing.assert_array_equal(again, first)


def test_noise_is_drawn_once_per_episode_and_the_same_on_all_layers(make_vec: MakeVec) -> None:
    agent, _ = _agent("ppo", make_vec)
    observations = _observations(2)
    observations[:] = observations[0]
    mean, _ = agent.predict(observations, deterministic=True)
    first, state = agent.predict(observations, deterministic=False)
    again, _ = agent.predict(observations, state, np.array([False, False]), deterministic=False)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first[0], first[1])
    third, _ = agent.predict(observations, state, np.array([True, False]), deterministic=False)
    assert not np.allclose(third[0], first[0])
    np.testing.assert_array_equal(third[1], first[1])
    # What the policy explores by in its own training is left alone.
    own = torch.ones(4, 64, 1)
    policy: Any = agent.policy
    policy.action_dist.exploration_matrices = own
    agent.act(observations, None, deterministic=True)
    assert policy.action_dist.exploration_matrices is own
    # What is drawn has the spread that its log-probability says.
    seen = torch.from_numpy(agent.statistics.normalise(observations[:1], 5.0))
    distribution = policy.get_distribution(seen)
    draws = []
    for _ in range(2000):
        policy.reset_noise(1)
        draws.append(distribution.get_noise(distribution._latent_sde).detach())
    spread = torch.stack(draws).std(0)
    torch.testing.assert_close(spread, distribution.distribution.stddev.detach(), rtol=0.1, atol=0)
    assert 0.05 < spread.mean() < 0.6
    assert mean.shape == (2, 3)


def test_masked_actions_stay_near_the_current_rates(make_vec: MakeVec) -> None:
    agent, venv = _agent("maskable_ppo", make_vec)
    observations, info = venv.reset(seed=1)
    for _ in range(3):
        actions, _ = agent.act(observations, None, deterministic=False)
        tenths = np.rint(info["lr"] / venv.config.base_lr * 10)
        assert (np.abs(actions - tenths) <= 3).all()
        observations, _, _, _, info = venv.step(actions)


def test_candidates_of_ars_run_side_by_side(make_vec: MakeVec) -> None:
    venv = make_vec(4, common_random_numbers=True)
    venv.reset(seed=5)
    env = VecNormalize(PopulationVecEnv(venv), training=False, norm_reward=False)
    model: Any = build("ars", _config("ars"), env, 3)
    assert isinstance(model, PopulationARS) and model.n_delta == 2
    weights = torch.randn(4, model.n_params, generator=torch.Generator().manual_seed(0)) * 0.1
    env.seed(7)
    _, callback = model._setup_learn(1, None)
    env.seed(7)
    returns = model.evaluate_candidates(weights, callback, None)
    for i in range(4):
        torch.nn.utils.vector_to_parameters(weights[i], model.policy.parameters())
        env.seed(7)
        observations, total = env.reset(), 0.0
        for _ in range(3):
            observations, rewards, _, _ = env.step(model.policy.predict(observations, deterministic=True)[0])
            total += rewards[0]  # common random numbers: all optimizees run the same episode
        assert returns[i].item() == pytest.approx(total, abs=1e-4)
    assert returns.std() > 0
    with pytest.raises(ConfigError, match="n_delta 1 directions in both senses, and 3 optimizees cannot share them"):
        SB3Agent(venv.config, algorithm="ars", n_layers=3).learn(make_vec(3), 3)


def test_the_same_map_for_every_layer() -> None:
    encoder, head = LayerEncoder((4,), torch.nn.Tanh), LayerHead(4, 2, gain=1.0)
    observations = torch.from_numpy(_observations(2, 3))
    features = observations.view(2, 3, N_FEATURES)
    joined = torch.cat([features, features.mean(1, keepdim=True).expand(2, 3, N_FEATURES)], -1)
    linear = encoder.net[0]
    expected = torch.tanh(joined @ linear.weight.T + linear.bias) @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(head(encoder(observations)), expected.reshape(2, 6))
    guided = LayerHead(4, whole=True, gain=1.0)
    assert guided.whole is not None
    encodings = encoder(observations).view(2, 3, 4)
    last = (encodings.mean(1) @ guided.whole.weight.T + guided.whole.bias)[:, 0]
    torch.testing.assert_close(guided(encodings.flatten(1))[:, 3], last)


def test_what_does_not_go_together(make_vec: MakeVec) -> None:
    config = make_vec().config
    with pytest.raises(ConfigError, match="'td3' takes the forms log, relative"):
        make_learner("td3", EnvConfig(pairs=("tiny",), action="discrete"), n_layers=3)
    with pytest.raises(ConfigError, match="Settings of 'ppo' are of type PPOConfig"):
        SB3Agent(config, algorithm="ppo", config=_config("sac"))
    with pytest.raises(ConfigError, match="Settings of 'reinforce' are of type ReinforceConfig"):
        SB3Agent(config, algorithm="reinforce", config=ReinforceConfig())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"was trained with .*'log'.* and the environment has .*'relative'"):
        SB3Agent(config, algorithm="ppo", n_layers=3).learn(make_vec(2, action="relative"), 1)


def test_other_observations_are_for_sb3s_own_policies(make_vec: MakeVec) -> None:
    venv = make_vec(2, observation="asg", action="discrete")
    with pytest.raises(ConfigError, match=r"reads the features of each layer group .* has observation='asg'"):
        SB3Agent(EnvConfig(pairs=("tiny",), action="discrete"), algorithm="ppo", n_layers=3).learn(venv, 2)
    model = PPO("MlpPolicy", PopulationVecEnv(venv), n_steps=3, batch_size=6, n_epochs=1, device="cpu", seed=0)
    before = model.policy.state_dict()["action_net.weight"].clone()
    model.learn(6)
    assert model.num_timesteps == 6
    assert not torch.equal(model.policy.state_dict()["action_net.weight"], before)


def test_policies_that_cannot_be_read(make_vec: MakeVec, tmp_path: Path) -> None:
    agent, _ = _agent("ppo", make_vec)
    agent.save(tmp_path)
    described = json.loads((tmp_path / "policy.json").read_text())
    tensors = load_file(tmp_path / "policy.safetensors")
    for change, told in (
        ({"features": ["a"]}, "expects the features"),
        ({"n_layers": 4}, "is damaged: Error"),
        ({"algorithm": "pppo"}, "Unknown algorithm 'pppo'"),
        ({"config": {"gama": 1}}, r"Unknown hyper-parameter of ppo 'gama'\. Did you mean 'gamma'"),
    ):
        (tmp_path / "policy.json").write_text(json.dumps({**described, **change}))
        with pytest.raises(ConfigError, match=told):
            agents.load(tmp_path)
    (tmp_path / "policy.json").write_text(json.dumps(described))
    save_file({k: v for k, v in tensors.items() if "normaliser" not in k}, tmp_path / "policy.safetensors")
    with pytest.raises(ConfigError, match=r"is damaged: 'normaliser\.mean'"):
        agents.load(tmp_path)
    (tmp_path / "policy.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(ConfigError, match="is damaged"):
        agents.load(tmp_path)
    (tmp_path / "policy.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"policy\.safetensors is missing"):
        agents.load(tmp_path)
