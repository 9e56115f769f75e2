"""The proxy's head in networks of any kind, and what one forward pass tells of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from l2o_env import ConfigError
from l2o_env.models.adapted.by_name import builder
from l2o_env.models.adapted.heads import (
    check_network,
    check_sizes,
    find_head,
    head_inputs,
    n_classes_of,
    n_features,
)
from l2o_env.models.base import new_generator
from tests.image_trees import MicroNet, MicroSegNet


class Attentive(nn.Module):
    """Its attention ends with a linear layer that is never called; its head comes before that one."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.attention = nn.MultiheadAttention(4, 1)


def test_the_head_is_the_last_layer_that_can_be_one() -> None:
    assert find_head(MicroNet()) == "fc"
    assert find_head(MicroNet(), "stem.0") == "stem.0"
    assert find_head(MicroSegNet(), dense=True) == "classifier"
    assert find_head(MicroSegNet()) == "classifier"  # a 1x1 convolution, where nothing is linear
    assert find_head(Attentive()) == "head"
    for layer in (nn.Linear(4, 3), nn.Conv2d(4, 3, 5)):
        assert (n_features(layer), n_classes_of(layer)) == (4, 3)
    with pytest.raises(ConfigError, match=r"Unknown convolution of MicroNet: 'fc'\. Known: 'body\.0', 'stem\.0'"):
        find_head(MicroNet(), "fc", dense=True)
    with pytest.raises(ConfigError, match=r"Linear has no head: expected .* at every place that ends with .*Conv2d"):
        find_head(nn.Linear(2, 2), dense=True)


def test_what_goes_into_a_head_is_collected() -> None:
    network = MicroNet().eval()
    images = torch.randn(2, 3, 12, 12, generator=new_generator(0))
    with head_inputs(network.fc) as found:
        logits = network(images)
        network.fc(input=found[0])
    assert len(found) == 2
    assert torch.equal(F.linear(found[0], network.fc.weight, network.fc.bias), logits)
    network(images)
    assert len(found) == 2


class Dense(nn.Module):
    """A body and a head for what can go wrong between them."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(4, 5, 1)
        self.body = nn.Conv2d(3, 4, 1)
        self.aux = nn.Conv2d(4, 5, 1)

    def forward(self, images: Tensor) -> object:
        """Logits of `head`; `aux` is for nothing."""
        features = self.body(images).relu()
        self.aux(features)
        return self.head(features).relu_()


class Functional(Dense):
    """Calls no layer but its body."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the weights of `aux`."""
        return F.conv2d(self.body(images), self.aux.weight)


class Twice(Dense):
    """Calls its last layer twice."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits of both calls."""
        features = self.body(images)
        return self.aux(features) + self.aux(features.flip(-1))


class Listed(Dense):
    """Returns a list."""

    def forward(self, images: Tensor) -> list[Tensor]:
        """Logits in a list."""
        return [self.aux(self.body(images))]


class Unlabelled(Dense):
    """Returns a mapping of other names."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits under no name that is known."""
        return {"masks": self.aux(self.body(images))}


class Pooled(Dense):
    """A classification network."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, 5)``."""
        return self.aux(self.body(images)).mean((-2, -1))


class Picky(Dense):
    """Takes large images only."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits of every 32nd place."""
        return self.aux(self.body(F.avg_pool2d(images, 32)))


@pytest.mark.parametrize(
    ("kind", "head", "told"),
    [
        (Dense, "", "The logits of Dense do not come out of its head 'aux'.* head=NAME"),
        (Dense, "body", r"Dense makes \(2, 5, 8, 8\) of two images of 8 x 8 pixels; expected logits \(2, 4, h, w\)"),
        (Functional, "", "Functional calls its head 'aux' 0 times; expected once.* head=NAME"),
        (Twice, "", "Twice calls its head 'aux' 2 times"),
        (Listed, "", "Listed returns a list; expected a tensor of logits, or a mapping .* 'out' or 'logits'"),
        (Unlabelled, "", "Unlabelled returns a dict with 'masks'; expected"),
        (Pooled, "", r"Pooled makes \(2, 5\) of two images .*; expected logits \(2, 5, h, w\) of the 5 classes"),
        (Picky, "", r"Picky cannot take images of 8 x 8 pixels \(RuntimeError: .*give another size"),
    ],
)
def test_one_forward_pass_tells_what_cannot_work(kind: type[nn.Module], head: str, told: str) -> None:
    network = builder(kind)().eval()
    with pytest.raises(ConfigError, match=told):
        check_network(network, find_head(network, head, dense=True), 8, dense=True)


def test_what_works_passes_and_nothing_is_left_behind() -> None:
    network = builder(Dense)().requires_grad_(False).eval()
    check_network(network, "head", 8, dense=True)  # though what follows changes its output in place
    assert not network(torch.zeros(1, 3, 8, 8)).requires_grad  # as it would where the head is cut off
    check_network(builder(Pooled)(), "aux", 8)
    with pytest.raises(ConfigError, match=r"expected logits \(2, 5\) of the 5 classes"):
        check_network(network, "head", 8)


class Halving(MicroSegNet):
    """Takes sides in multiples of 4 alone, as a U-Net does."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """See ``MicroSegNet``."""
        small = F.avg_pool2d(F.avg_pool2d(images, 2), 2)
        return super().forward(images + F.interpolate(small, scale_factor=4))


def test_sizes_are_tried_without_computing_anything() -> None:
    check_sizes(Halving(), [(8, 12), (20, 4)], "give sliding_window=8")
    with pytest.raises(ConfigError, match=r"Halving cannot take target images of 50 x 37 .*give sliding_window=8"):
        check_sizes(Halving(), [(8, 12), (37, 50)], "give sliding_window=8")
