"""What forward passes of random images tell of a network, before anything is trained."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from l2o_env import ConfigError
from l2o_env.models.adapted.by_name import builder
from l2o_env.models.adapted.checks import check_network, check_sizes
from l2o_env.models.adapted.heads import find_head
from tests.image_trees import MicroSegNet


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


class Plain(nn.Module):
    """A convolution and a head, for what networks do beside."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 6, 3)
        self.fc = nn.Linear(6, 5)

    def features(self, images: Tensor) -> Tensor:
        """What goes into the head, ``(n, 6)``."""
        return self.body(images).relu().mean((-2, -1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(n, 5)``."""
        return self.fc(self.features(images))


class Unregistered(Plain):
    """Keeps layers in a list, of which PyTorch knows nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(6, 6)]

    def features(self, images: Tensor) -> Tensor:
        """See ``Plain``."""
        return self.layers[0](super().features(images))


class Scaled(Plain):
    """Has a number that is learnt, but no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.ones((), requires_grad=True)

    def features(self, images: Tensor) -> Tensor:
        """See ``Plain``."""
        return self.scale * super().features(images)


class Ungraded(Plain):
    """Only its head can learn."""

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """See ``Plain``."""
        return super().features(images)


class Detached(Plain):
    """The same by another word."""

    def features(self, images: Tensor) -> Tensor:
        """See ``Plain``."""
        return super().features(images).detach()


class Numpy(Plain):
    """The same by NumPy."""

    def features(self, images: Tensor) -> Tensor:
        """See ``Plain``."""
        return torch.from_numpy(super().features(images).detach().numpy())


class AlwaysDropping(Plain):
    """Its dropout is not told when not to."""

    def features(self, images: Tensor) -> Tensor:
        """See ``Plain``."""
        return F.dropout(super().features(images))


class Noisy(Plain):
    """Adds noise."""

    def features(self, images: Tensor) -> Tensor:
        """See ``Plain``."""
        return super().features(images + torch.randn_like(images))


class BatchStatistics(Plain):
    """Its batch normalisation keeps no statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, track_running_stats=False)

    def features(self, images: Tensor) -> Tensor:
        """See ``Plain``."""
        return super().features(self.norm(images))


class Standardised(Plain):
    """Takes the mean of all images from each."""

    def features(self, images: Tensor) -> Tensor:
        """See ``Plain``."""
        return super().features(images - images.mean((0, 2, 3), keepdim=True))


class InPlace(Plain):
    """Normalises the images that it is given."""

    def features(self, images: Tensor) -> Tensor:
        """See ``Plain``."""
        return super().features(images.sub_(0.5).div_(0.25))


class Overflowing(Plain):
    """Its logits are infinite."""

    def forward(self, images: Tensor) -> Tensor:
        """See ``Plain``."""
        return super().forward(images) * 1e38 * 1e38


class Logarithmic(Plain):
    """Its features are logarithms of what may be negative."""

    def features(self, images: Tensor) -> Tensor:
        """See ``Plain``."""
        return self.body(images).mean((-2, -1)).log()


class Binary(Plain):
    """One logit says yes or no."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 1)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Unregistered, "computes with parameters that are none of its own.*ModuleList"),
        (Scaled, "computes with parameters that are none of its own.*torch.nn.Parameter"),
        (Ungraded, "What goes into the head 'fc' of Ungraded has no gradient"),
        (Detached, "has no gradient, so that nothing but the head could be trained"),
        (Numpy, r"take \.detach\(\), \.numpy\(\) and torch\.no_grad\(\) out"),
        (AlwaysDropping, r"other logits of the same images each time; .*F\.dropout\(x, p, self\.training\)"),
        (Noisy, "other logits of the same images each time"),
        (BatchStatistics, "other logits of an image alone than beside another.*track_running_stats=True"),
        (Standardised, "other logits of an image alone"),
        (InPlace, "InPlace changes its images in place; make new tensors"),
        (Overflowing, "Overflowing makes NaN or infinity of random images"),
        (Logarithmic, "Logarithmic makes NaN or infinity of random images"),
        (Binary, r"Binary has a single class, .* give it two outputs, \(0, logit\)"),
    ],
)
@pytest.mark.parametrize("trained", [False, True])
def test_logits_depend_on_the_image_and_the_parameters_alone(kind: type[nn.Module], told: str, trained: bool) -> None:
    network = builder(kind)().requires_grad_(trained).eval()
    with pytest.raises(ConfigError, match=told):
        check_network(network, "fc", 8)
    assert all(each.requires_grad == trained for each in network.parameters())
