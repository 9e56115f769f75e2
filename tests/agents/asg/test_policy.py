"""The network of ASG's policy, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from agents.asg import AsgPolicy
from l2o_env.models.base import new_generator


def _observations(time: int, n: int, n_groups: int, seed: int = 0) -> Tensor:
    return torch.rand(time, n, 5 + n_groups, generator=new_generator(seed))


def _by_hand(policy: AsgPolicy, observation: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One step of one optimizee, gate by gate."""
    new_h, new_c = torch.zeros(5, 20), torch.zeros(5, 20)
    for k, lstm in enumerate(policy.lstms):
        p = dict(lstm.named_parameters())
        gates = p["weight_ih_l0"][:, 0] * observation[k] + p["bias_ih_l0"] + p["weight_hh_l0"] @ h[k] + p["bias_hh_l0"]
        i, f, g, o = gates.split(20)
        new_c[k] = f.sigmoid() * c[k] + i.sigmoid() * g.tanh()
        new_h[k] = o.sigmoid() * new_c[k].tanh()
    joined = new_h.flatten()
    logits = [
        head.weight @ torch.cat([joined, observation[5 + k][None]]) + head.bias for k, head in enumerate(policy.heads)
    ]
    return torch.stack(logits), new_h, new_c


@pytest.mark.parametrize("memoryless", [True, False])
def test_the_network_by_hand(memoryless: bool) -> None:
    policy = AsgPolicy(7, memoryless, new_generator(0))
    observations = _observations(3, 2, 7)
    with torch.no_grad():
        for head in policy.heads:
            head.bias.uniform_(-1, 1, generator=new_generator(1))
        found, state = policy(observations, policy.initial_state(2))
        assert found.shape == (3, 2, 7, 11)
        h = c = torch.zeros(5, 20)
        for t in range(3):
            expected, *new = _by_hand(policy, observations[t, 1], h, c)
            torch.testing.assert_close(found[t, 1], expected, rtol=1e-4, atol=1e-6)
            if not memoryless:
                h, c = new
    torch.testing.assert_close(state.h[:, 1], h, rtol=1e-4, atol=1e-6)
    assert bool(state.h.any()) == (not memoryless)


def test_the_heads_are_orthogonal_with_a_gain_of_a_hundredth() -> None:
    policy = AsgPolicy(3, True, new_generator(0))
    for head in policy.heads:
        torch.testing.assert_close(head.weight @ head.weight.T, 1e-4 * torch.eye(11), atol=1e-8, rtol=1e-4)
        assert not head.bias.any()
    bound = 20**-0.5  # uniform, as torch.nn.LSTM begins
    for p in policy.lstms.parameters():
        assert -bound <= p.min() < -0.9 * bound and 0.9 * bound < p.max() <= bound
    assert sum(p.numel() for p in policy.parameters()) == 5 * (80 * 21 + 160) + 3 * 11 * 102
    assert not torch.equal(policy.heads[0].weight, policy.heads[1].weight)
