"""Policies that all layers share: the same map for each, on any number of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.sb3 import SB3Agent
from agents.sb3.shared_policies import LayerEncoder, LayerHead, PooledLayers
from l2o_env.observation import N_FEATURES, observation_space
from tests.agents.sb3.small import SHARED, MakeVec, agent_and_venv, small_config
from tests.agents.sb3.small import observations as drawn


def test_the_same_map_for_every_layer() -> None:
    encoder, head = LayerEncoder((4,), torch.nn.Tanh), LayerHead(4, 2, gain=1.0)
    observations = torch.from_numpy(drawn(2, 3))
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


def test_features_of_one_action_for_the_whole_network() -> None:
    observations = torch.from_numpy(drawn(2, 3))
    pooled = PooledLayers(observation_space(3))(observations)
    layers = observations.view(2, 3, N_FEATURES)
    torch.testing.assert_close(pooled, torch.cat([layers.mean(1), layers[:, 0], layers[:, 2]], dim=-1))


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_actor_runs_on_other_depths_and_does_not_mind_the_order(name: str, make_vec: MakeVec) -> None:
    agent, _ = agent_and_venv(name, make_vec)
    for parameter in agent.policy.parameters():  # so that actions differ from the start
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    two = drawn(4, 2)
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
    agent = SB3Agent(venv.config, algorithm=name, config=small_config(name), n_layers=3)
    assert agent.act(drawn(), None, True)[0].shape == (2, 4)
    agent.learn(venv, 2)
    assert agent.episodes == 2
    if name != "recurrent_ppo":
        assert agent.act(drawn(2, 2), None, True)[0].shape == (2, 3)
