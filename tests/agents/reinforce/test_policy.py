"""The recurrent policy and its normaliser."""

from __future__ import annotations

import torch

from agents.reinforce.policy import JOINT_SHARE, LayerPolicy, Normaliser, hats
from l2o_env.models.base import new_generator
from l2o_env.observation import FEATURE_NAMES, N_FEATURES


def test_normaliser_matches_mean_and_variance_of_all_it_saw() -> None:
    data = torch.randn(7, 5, N_FEATURES, generator=new_generator(0)) * 3 + 1
    normaliser = Normaliser(clip=100.0)
    for part in data.split([2, 4, 1]):
        normaliser.update(part)
    rows = data.reshape(-1, N_FEATURES)
    torch.testing.assert_close(normaliser.mean, rows.mean(0))
    torch.testing.assert_close(normaliser.var, rows.var(0, correction=0))
    expected = (rows - rows.mean(0)) / (rows.var(0, correction=0) + 1e-4).sqrt()
    torch.testing.assert_close(normaliser(rows), expected, atol=1e-4, rtol=1e-4)


def test_normaliser_clips() -> None:
    assert Normaliser(clip=5.0)(torch.full((N_FEATURES,), 1e6)).unique().tolist() == [5.0]


def test_one_policy_serves_any_number_of_layers() -> None:
    policy = LayerPolicy(1, 8, None, 3, 5.0, new_generator(0))
    for n_layers in (3, 9):
        outputs, state = policy(torch.zeros(4, 2, n_layers, N_FEATURES), policy.initial_state(2, n_layers))
        assert outputs.shape == (4, 2, n_layers, 1)
        assert state.shape == (2, n_layers, 8)


def test_permuting_the_layers_permutes_the_outputs() -> None:
    policy = LayerPolicy(2, 8, None, 3, 5.0, new_generator(0))
    features = torch.randn(3, 2, 4, N_FEATURES, generator=new_generator(1))
    order = torch.tensor([2, 0, 3, 1])
    state = policy.initial_state(2, 4)
    torch.testing.assert_close(policy(features[:, :, order], state)[0], policy(features, state)[0][:, :, order])


def test_a_stretch_equals_its_steps() -> None:
    policy = LayerPolicy(1, 8, None, 3, 5.0, new_generator(0))
    features = torch.randn(5, 2, 3, N_FEATURES, generator=new_generator(1))
    whole, last = policy(features, policy.initial_state(2, 3))
    state = policy.initial_state(2, 3)
    for t in range(5):
        step, state = policy(features[t : t + 1], state)
        torch.testing.assert_close(step[0], whole[t])
    torch.testing.assert_close(state, last)


def test_layers_with_heads_of_their_own_differ_on_equal_inputs() -> None:
    features = torch.randn(1, 1, 1, N_FEATURES, generator=new_generator(1)).expand(1, 1, 3, -1)
    shared = LayerPolicy(1, 8, None, 3, 5.0, new_generator(0))
    own = LayerPolicy(1, 8, 3, 0, 5.0, new_generator(0))
    assert len(shared(features, shared.initial_state(1, 3))[0].unique()) == 1
    assert len(own(features, own.initial_state(1, 3))[0].unique()) == 3


def test_initial_weights_come_from_the_generator_alone() -> None:
    before = torch.get_rng_state()
    a, b, c = (LayerPolicy(1, 8, None, 3, 5.0, new_generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a.encoder.weight, b.encoder.weight)
    assert not torch.equal(a.encoder.weight, c.encoder.weight)


def test_hats_interpolate_linearly_between_knots() -> None:
    found = hats(torch.tensor([0.0, 0.25, 0.6, 1.0]), 3)
    expected = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.8, 0.2], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(found, expected)


def test_the_table_adds_what_it_holds_for_a_depth_and_a_time() -> None:
    with_table, without = (LayerPolicy(1, 8, None, n, 5.0, new_generator(0)) for n in (2, 0))
    features = torch.randn(1, 1, 3, N_FEATURES, generator=new_generator(1))
    features[..., FEATURE_NAMES.index("depth")] = torch.tensor([0.0, 0.5, 1.0])
    features[..., FEATURE_NAMES.index("progress")] = 0.25
    state = without.initial_state(1, 3)
    plain = without(features, state)[0]
    torch.testing.assert_close(with_table(features, state)[0], plain)
    with torch.no_grad():  # depths 0 and 1, times 0 and 1, then each depth at each time
        with_table.table[:, 0] = torch.tensor([1.0, 3.0, 10.0, 20.0, 0.1, 0.2, 0.3, 0.4])
    share = torch.tensor([0.125, 0.225, 0.325]) * JOINT_SHARE
    expected = torch.tensor([1.0, 2.0, 3.0]) + 12.5 + share
    torch.testing.assert_close((with_table(features, state)[0] - plain).flatten(), expected, rtol=1e-5, atol=1e-5)
