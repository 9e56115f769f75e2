"""The small network: layer groups, seeding, stacking under vmap."""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch
from torch.func import functional_call, stack_module_state, vmap

from l2o_env.errors import ConfigError
from l2o_env.models import SmallNet, SmallProxy, check_layer_groups, new_generator, small
from l2o_env.models.small import NetworkName


def _net(seed: int = 0) -> SmallNet:
    return SmallNet(10, 5, new_generator(seed))


def test_shapes_groups_and_size() -> None:
    net = _net()
    logits, proxy_logits = net(torch.zeros(7, 3, 16, 16))
    assert logits.shape == (7, 10)
    assert proxy_logits.shape == (7, 5)
    assert tuple(net.layer_groups()) == ("stem", "layer1", "layer2", "layer3", "head")
    sizes = {g: sum(net.get_parameter(n).numel() for n in names) for g, names in net.layer_groups().items()}
    assert sizes == {"stem": 232, "layer1": 1184, "layer2": 3648, "layer3": 14464, "head": 1386}
    assert net.stem(torch.zeros(1, 3, 16, 16)).shape == (1, 8, 8, 8)
    assert not net.proxy_head.weight.requires_grad


def test_the_deep_network_has_two_more_groups() -> None:
    net = SmallNet(10, 5, new_generator(0), "deep")
    groups = ("stem", "layer1", "layer2", "layer3", "layer4", "layer5", "head")
    assert tuple(net.layer_groups()) == groups
    check_layer_groups(net)
    sizes = {g: sum(net.get_parameter(n).numel() for n in names) for g, names in net.layer_groups().items()}
    assert sizes["layer3"] == 2 * 16 * 16 * 9 + 4 * 16  # the same shape in and out: no shortcut
    assert sizes["layer5"] == 2 * 32 * 32 * 9 + 4 * 32
    proxy = SmallProxy(5, new_generator(7), "deep")
    net.load_proxy(proxy)
    images = torch.randn(4, 3, 16, 16, generator=new_generator(1))
    assert torch.equal(net(images)[1], proxy(images))
    with pytest.raises(ConfigError, match=r"Unknown network 'dep'\. Did you mean 'deep'"):
        SmallNet(10, 5, new_generator(0), "dep")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("network", "n_groups", "n_weights", "n_features"),
    [("deeper", 11, 69746, 32), ("narrow", 5, 5870, 16), ("wide", 5, 79610, 64), ("unnormalised", 5, 20674, 32)],
)
def test_networks_of_other_sizes(network: NetworkName, n_groups: int, n_weights: int, n_features: int) -> None:
    net, proxy = SmallNet(10, 5, new_generator(0), network), SmallProxy(5, new_generator(7), network)
    assert len(net.layer_groups()) == n_groups
    check_layer_groups(net)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == n_weights
    net.load_proxy(proxy)
    images = torch.randn(4, 3, 16, 16, generator=new_generator(1))
    assert net.features(images).shape == (4, n_features)
    assert torch.equal(net(images)[1], proxy(images))
    normalised = any(isinstance(module, torch.nn.GroupNorm) for module in net.modules())
    assert normalised == (network != "unnormalised")


def test_without_normalisation_there_are_no_kernels() -> None:
    assert SmallNet(10, 5, new_generator(0), "unnormalised").batched_kernels(5) is None


def test_the_small_network_has_kernels_where_numba_is_and_says_once_where_it_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if importlib.util.find_spec("numba"):
        assert _net().batched_kernels(5) is not None
    monkeypatch.setitem(sys.modules, "numba", None)
    small._tell_once.cache_clear()
    with caplog.at_level("INFO", logger="l2o_env"):
        assert _net().batched_kernels(5) is None
        assert _net().batched_kernels(3) is None
    assert caplog.messages == [
        'numba is not installed; training the embedded network at full speed needs it: pip install "l2o-env[kernels]".'
    ]


def test_weights_come_from_the_generator_alone() -> None:
    before = torch.get_rng_state()
    first, same, other = _net(0), _net(0), _net(1)
    assert torch.equal(before, torch.get_rng_state())
    for (name, a), b, c in zip(first.named_parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        if a.ndim > 1:
            assert not torch.equal(a, c), name
            # Kaiming: variance 2 / fan_in, within four standard errors
            variance = a[0].numel() / 2 * a.var().item()
            assert abs(variance - 1.0) < 4 * (2 / a.numel()) ** 0.5, name


def test_load_proxy_takes_backbone_and_proxy_head_but_not_the_new_head() -> None:
    proxy, net, fresh = SmallProxy(5, new_generator(7)), _net(), _net()
    net.load_proxy(proxy)
    images = torch.randn(4, 3, 16, 16, generator=new_generator(1))
    assert torch.equal(net(images)[1], proxy(images))
    assert torch.equal(net.head[0].weight, fresh.head[0].weight)
    fresh.load_proxy(proxy, backbone=False)
    assert torch.equal(fresh.proxy_head.weight, proxy.proxy_head.weight)
    assert torch.equal(fresh.stem.conv.weight, _net().stem.conv.weight)


def test_a_stack_of_networks_computes_what_each_computes() -> None:
    nets = [_net(seed) for seed in range(3)]
    parameters, buffers = stack_module_state(nets)
    assert not buffers
    images = torch.randn(3, 4, 3, 16, 16, generator=new_generator(0))
    stacked = vmap(lambda p, x: functional_call(nets[0], p, (x,)))(parameters, images)
    for i, net in enumerate(nets):
        for ours, theirs in zip(stacked, net(images[i]), strict=True):
            torch.testing.assert_close(ours[i], theirs, rtol=1e-4, atol=1e-5)
