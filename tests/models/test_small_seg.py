"""The network of the embedded segmentation pair."""

from __future__ import annotations

import torch

from l2o_env.models.base import check_layer_groups, new_generator
from l2o_env.models.small_seg import SmallSegNet, SmallSegProxy


def test_shapes_groups_and_size() -> None:
    net = SmallSegNet(11, 6, new_generator(0))
    check_layer_groups(net)
    assert list(net.layer_groups()) == ["stem", "layer1", "layer2", "layer3", "merge", "head"]
    logits, proxy_logits = net(torch.zeros(2, 3, 32, 24))
    assert (logits.shape, proxy_logits.shape) == ((2, 11, 32, 24), (2, 6, 16, 12))
    assert not any(p.requires_grad for p in net.proxy_head.parameters())


def test_load_proxy_takes_trunk_and_proxy_head_but_not_the_new_head() -> None:
    proxy = SmallSegProxy(6, new_generator(7))
    net, fresh = (SmallSegNet(11, 6, new_generator(0)) for _ in range(2))
    net.load_proxy(proxy)
    images = torch.randn(2, 3, 32, 32, generator=new_generator(1))
    assert torch.equal(net(images)[1], proxy(images))
    assert torch.equal(net.head[0].weight, fresh.head[0].weight)
    before = fresh.merge.conv1.weight.clone()
    fresh.load_proxy(proxy, backbone=False)
    assert torch.equal(fresh.proxy_head.weight, proxy.proxy_head.weight)
    assert torch.equal(fresh.merge.conv1.weight, before)


def test_weights_come_from_the_generator_alone() -> None:
    state = torch.get_rng_state()
    first, same, other = (SmallSegNet(11, 6, new_generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.stem.conv.weight, same.stem.conv.weight)
    assert not torch.equal(first.stem.conv.weight, other.stem.conv.weight)
