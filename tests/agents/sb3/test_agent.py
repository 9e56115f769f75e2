"""Agents of Stable-Baselines3 and sb3-contrib: learning, memory, saving, and what does not go together."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from stable_baselines3 import PPO

import agents
from agents.algorithms import ReinforceConfig
from agents.base import Agent, Learner
from agents.sb3 import PopulationVecEnv, SB3Agent
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from tests.agents.sb3.small import NAMES, MakeVec, agent_and_venv, small_config
from tests.agents.sb3.small import observations as drawn
from tests.tiny import TINY


@pytest.mark.parametrize("name", NAMES)
def test_every_algorithm_trains_on_its_budget_and_is_saved(name: str, make_vec: MakeVec, tmp_path: Path) -> None:
    agent, venv = agent_and_venv(name, make_vec)
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
        observations = drawn(3) + np.float32(0.01 * seed)
        a, state_a = agent.act(observations, state_a, True)
        b, state_b = loaded.act(observations, state_b, True)
        np.testing.assert_array_equal(a, b)
        assert a.shape == (3, 3)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["policy.json", "policy.safetensors"]


def test_the_same_seed_learns_the_same(make_vec: MakeVec) -> None:
    weights = []
    for seed in (0, 0, 1):
        agent, venv = agent_and_venv("sac", make_vec, seed)
        agent.learn(venv, 8)
        weights.append(torch.nn.utils.parameters_to_vector(agent.policy.parameters()))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_learning_goes_on_from_the_policy_there_is(make_vec: MakeVec, tmp_path: Path) -> None:
    agent, venv = agent_and_venv("ars", make_vec)
    agent.learn(venv, 8).save(tmp_path)
    again = SB3Agent.load(tmp_path)
    expected = again.act(drawn(), None, True)[0]
    assert np.abs(expected).max() > 1e-3
    again.learn(venv, 4)
    assert again.episodes == 12
    moved = np.abs(again.act(drawn(), None, True)[0] - expected).max()
    assert 0 < moved < 0.5


def test_a_policy_that_is_not_shared_names_both_numbers_of_layers(make_vec: MakeVec) -> None:
    for name in ("recurrent_ppo", "ppo"):
        config = replace(small_config(name), layer_shared=False)
        agent = SB3Agent(make_vec().config, algorithm=name, config=config, n_layers=3)
        assert agent.act(drawn(), None, True)[0].shape == (2, 3)
        with pytest.raises(ConfigError, match="trained on networks of 3 layer groups and got one of 4"):
            agent.act(drawn(2, 4), None, True)
    with pytest.raises(ConfigError, match="layer_shared=true is not there for recurrent_ppo; it goes with ppo"):
        config = replace(small_config("recurrent_ppo"), layer_shared=True)
        SB3Agent(make_vec().config, algorithm="recurrent_ppo", config=config)
    agent, venv = agent_and_venv("ppo", make_vec)
    with pytest.raises(ConfigError, match="for networks of 4 layer groups; those of the population have 3"):
        SB3Agent(venv.config, algorithm="ppo", n_layers=4).learn(venv, 1)


def test_an_lstm_remembers_and_forgets(make_vec: MakeVec) -> None:
    agent, _ = agent_and_venv("recurrent_ppo", make_vec)
    observations = drawn(2)
    first, state = agent.predict(observations, deterministic=True)
    second, _ = agent.predict(observations, state, np.array([False, False]), deterministic=True)
    assert not np.array_equal(first, second)
    third, _ = agent.predict(observations, state, np.array([True, False]), deterministic=True)
    np.testing.assert_array_equal(third, np.stack([first[0], second[1]]))
    again, _ = agent.predict(observations, state, np.array([True, True]), deterministic=True)
    np.testing.assert_array_equal(again, first)


def test_noise_is_drawn_once_per_episode_and_the_same_on_all_layers(make_vec: MakeVec) -> None:
    agent, _ = agent_and_venv("ppo", make_vec)
    observations = drawn(2)
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


def test_what_does_not_go_together(make_vec: MakeVec) -> None:
    config = make_vec().config
    with pytest.raises(ConfigError, match="'td3' takes the forms log, relative"):
        SB3Agent(EnvConfig(pairs=("tiny",), action="discrete"), algorithm="td3", n_layers=3)
    with pytest.raises(ConfigError, match="Settings of 'ppo' are of type PPOConfig"):
        SB3Agent(config, algorithm="ppo", config=small_config("sac"))
    with pytest.raises(ConfigError, match="Settings of 'reinforce' are of type ReinforceConfig"):
        SB3Agent(config, algorithm="reinforce", config=ReinforceConfig())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"was trained with .*'log'.* and the environment has .*'relative'"):
        SB3Agent(config, algorithm="ppo", n_layers=3).learn(make_vec(2, action="relative"), 1)


def test_settings_that_a_form_does_not_read_are_no_hindrance(tmp_path: Path) -> None:
    config = EnvConfig(**TINY)
    agent = SB3Agent(config, algorithm="ppo", n_layers=3)
    agent.check_env(replace(config, guidance_weight_max=3.0, relative_scale=4.0))
    with pytest.raises(ConfigError, match="was trained with"):
        agent.check_env(replace(config, lr_max=0.2))
    agent.save(tmp_path)
    description = json.loads((tmp_path / "policy.json").read_text())
    del description["sha256"]
    optimizer = {"optimizer": "sgd", "beta2": None, "weight_decay": 5e-4}
    assert description["action"] == {"action": "log", **optimizer, "lr_min": 1e-4, "lr_max": 0.3}
    for key in optimizer:  # of which files once did not tell
        del description["action"][key]
    more = {"base_lr": 0.02, "relative_scale": 2.0, "guidance_weight_min": 0.01, "guidance_weight_max": 10.0}
    description["action"] |= more  # as files once had it
    (tmp_path / "policy.json").write_text(json.dumps(description))
    loaded = agents.load(tmp_path)
    assert loaded.action_settings == agent.action_settings
    loaded.check_env(replace(config, guidance_weight_max=3.0))


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
    agent, _ = agent_and_venv("ppo", make_vec)
    agent.save(tmp_path)
    described = json.loads((tmp_path / "policy.json").read_text())
    del described["sha256"]
    tensors = load_file(tmp_path / "policy.safetensors")
    for change, message in (
        ({"features": ["a"]}, "expects the features"),
        ({"observation_version": 0}, "observes version 0"),
        ({"n_layers": 4}, r"'normaliser\.mean' is \(60,\), and its description says \(80,\)"),
        ({"n_layers": 10**9}, "its description says"),
        ({"config": {**described["config"], "net_arch": [9999, 9999]}}, "too few tensors of the shape"),
        ({"config": {**described["config"], "net_arch": [64] * 10**3}}, "too few tensors of the shape"),
        ({"algorithm": "pppo"}, "Unknown algorithm 'pppo'"),
        ({"config": {"gama": 1}}, r"Unknown hyper-parameter of ppo 'gama'\. Did you mean 'gamma'"),
    ):
        (tmp_path / "policy.json").write_text(json.dumps({**described, **change}))
        with pytest.raises(ConfigError, match=message):
            agents.load(tmp_path)
    (tmp_path / "policy.json").write_text(json.dumps(described))
    save_file({k: v for k, v in tensors.items() if "normaliser" not in k}, tmp_path / "policy.safetensors")
    with pytest.raises(ConfigError, match=r"'normaliser\.mean' is 'not there'"):
        agents.load(tmp_path)
    (tmp_path / "policy.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(ConfigError, match="is damaged"):
        agents.load(tmp_path)
    (tmp_path / "policy.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"policy\.safetensors is missing"):
        agents.load(tmp_path)
