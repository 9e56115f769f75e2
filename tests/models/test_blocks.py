"""What the embedded networks are built of."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from l2o_env.models.base import new_generator
from l2o_env.models.blocks import GROUPS, ResidualBlock, Stem, convolution, initialise, linear


def test_drawing_is_kaimings_and_from_the_generator_alone() -> None:
    state = torch.get_rng_state()
    network = nn.Sequential(convolution(8, 64, 3, bias=True), nn.GroupNorm(GROUPS, 64), linear(64, 500))
    initialise(network, new_generator(0))
    assert torch.equal(torch.get_rng_state(), state)
    generator = new_generator(0)
    for layer, fan_in in ((network[0], 72), (network[2], 64)):
        expected = torch.randn(layer.weight.shape, generator=generator) * (2 / fan_in) ** 0.5
        torch.testing.assert_close(layer.weight, expected)
        assert not layer.bias.any()
    assert (network[1].weight == 1).all() and not network[1].bias.any()


@pytest.mark.parametrize("kernel", [1, 3])
def test_convolutions_keep_the_size_but_for_their_stride(kernel: int) -> None:
    for stride, size in ((1, 8), (2, 4)):
        layer = convolution(3, 4, kernel, stride)
        assert layer(torch.zeros(2, 3, 8, 8)).shape == (2, 4, size, size)
        assert layer.bias is None


def test_a_block_adds_what_it_computes_to_its_input() -> None:
    x = torch.randn(2, 8, 6, 6, generator=new_generator(0))
    same, smaller = ResidualBlock(8, 8, 1), ResidualBlock(8, 16, 2)
    for block in (same, smaller):
        initialise(block, new_generator(1))
        nn.init.zeros_(block.norm2.weight)
    assert torch.equal(same(x), x.relu())
    assert torch.equal(smaller(x), smaller.shortcut(x).relu())
    assert smaller(x).shape == (2, 16, 3, 3)


def test_a_stem_halves_the_image() -> None:
    stem = Stem(3, 8)
    initialise(stem, new_generator(0))
    features = stem(torch.randn(2, 3, 16, 16, generator=new_generator(1)))
    assert features.shape == (2, 8, 8, 8) and features.min() == 0
