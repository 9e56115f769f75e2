"""Where parameters and layer groups lie in a flat vector."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from l2o_env.models.base import new_generator
from l2o_env.models.layout import Layout
from tests.tiny import TinyNet, TwoLayers

LAYOUT = Layout.of(TwoLayers())


def test_layout_follows_the_layer_groups() -> None:
    assert LAYOUT.names == ("body.weight", "body.bias", "head.weight")
    assert LAYOUT.group_names == ("body", "head")
    assert LAYOUT.group_sizes == (2, 2)
    assert LAYOUT.head_weight == "head.weight"
    assert (LAYOUT.n_layers, LAYOUT.n_weights) == (2, 4)


def test_named_parameters_and_flat_vectors_are_two_views_of_one_thing() -> None:
    model = TinyNet(new_generator(0))
    layout = Layout.of(model)
    named = {name: p.detach() for name, p in model.named_parameters()}
    flat = layout.flatten(named)
    assert flat.shape == (layout.n_weights,) == (sum(p.numel() for p in model.parameters() if p.requires_grad),)
    for name, view in layout.unflatten(flat).items():
        assert torch.equal(view, named[name])
        assert view.untyped_storage().data_ptr() == flat.untyped_storage().data_ptr()
    batched = layout.unflatten(torch.stack([flat, 2 * flat]))
    assert torch.equal(batched["head.weight"][1], 2 * named["head.weight"])


def test_group_sums_and_expand() -> None:
    flat = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert LAYOUT.group_sums(flat).tolist() == [[3.0, 7.0]]
    assert LAYOUT.expand(torch.tensor([[5.0, 6.0]])).tolist() == [[5.0, 5.0, 6.0, 6.0]]


def test_a_scalar_parameter_keeps_its_shape() -> None:
    class Scaled(TwoLayers):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def layer_groups(self) -> dict[str, list[str]]:
            return {"body": ["scale", "body.weight", "body.bias"], "head": ["head.weight"]}

    views: dict[str, Tensor] = Layout.of(Scaled()).unflatten(torch.zeros(3, 5))
    assert views["scale"].shape == (3,)


def test_a_last_group_without_a_matrix_is_refused() -> None:
    class Headless(TwoLayers):
        def layer_groups(self) -> dict[str, list[str]]:
            return {"head": ["head.weight", "body.weight"], "bias": ["body.bias"]}

    with pytest.raises(ValueError, match="'bias' has no weight matrix"):
        Layout.of(Headless())
