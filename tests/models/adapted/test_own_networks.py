"""Networks as people have them: what is unusual runs and is left as it is, or one line says why not."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from l2o_env import ConfigError, pairs
from l2o_env.env import Syn2RealEnv
from l2o_env.guidance.base import feature_map
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.adapted.prepare import Prepared, prepare
from l2o_env.models.base import new_generator
from tests.image_trees import class_folders


class Network(nn.Module):
    """Two convolutions, one ReLU for both, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, stride=2)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(6, 5)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(n, 5)``."""
        return self.fc(self.relu(self.second(self.relu(self.first(images)))).mean((-2, -1)))


class Frozen(Network):
    """Its first layer is not to be trained, and has a number that is none of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first.requires_grad_(False)
        self.steps = nn.Parameter(torch.tensor(3), requires_grad=False)


class Tied(Network):
    """Its second layer uses the weights of a third one, too."""

    def __init__(self) -> None:
        super().__init__()
        self.third = nn.Conv2d(6, 6, 3, padding=1)
        self.third.weight = self.second.weight

    def forward(self, images: Tensor) -> Tensor:
        """See ``Network``."""
        return self.fc(self.third(self.relu(self.second(self.first(images)))).mean((-2, -1)))


class Unused(Network):
    """It has a layer that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Conv2d(2, 2, 1)


class Half(Network):
    """Its first layer is of half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.first.half()


class Double(Network):
    """Its second layer is of double precision, so that it cannot be called as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.second.double()


class Probable(Network):
    """It ends with a softmax."""

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities."""
        return super().forward(images).softmax(1)


class Gated(Network):
    """It ends with a sigmoid."""

    def forward(self, images: Tensor) -> Tensor:
        """One probability for each class."""
        return super().forward(images).sigmoid()


class Squeezed(Network):
    """Of a single image it takes the first dimension away."""

    def forward(self, images: Tensor) -> Tensor:
        """See ``Network``."""
        return self.fc(self.second(self.first(images)).mean((-2, -1), keepdim=True).squeeze())


class Lazy(Network):
    """Its head is built when it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.LazyLinear(5)


class Complex(Network):
    """It has a complex parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = nn.Parameter(torch.ones(2, dtype=torch.complex64))


class Grey(Network):
    """It takes one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, stride=2)


class Still(Network):
    """Nothing of it can be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.requires_grad_(False)


def scripted() -> nn.Module:
    """A network without Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of newer versions, that there are other ways
        return torch.jit.script(Network())


class WeightNormed(Network):
    """The weights of its second layer are computed from others."""

    def __init__(self) -> None:
        super().__init__()
        nn.utils.parametrizations.weight_norm(self.second)


class OldWeightNorm(Network):
    """The same in a way that no copies can be made of."""

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nn.utils.weight_norm(self.second)


class SpectrallyNormed(Network):
    """Its head is computed from other weights."""

    def __init__(self) -> None:
        super().__init__()
        nn.utils.parametrizations.spectral_norm(self.fc)


class Kept(Network):
    """Keeps what it made last, with its graph."""

    def forward(self, images: Tensor) -> Tensor:
        """See ``Network``."""
        self.last = super().forward(images)
        return self.last


class Logs(Network):
    """Makes logarithms of probabilities, which are logits too."""

    def forward(self, images: Tensor) -> Tensor:
        """See ``Network``."""
        return super().forward(images).log_softmax(1)


class Counted(Network):
    """Counts its calls, and has numbers that are no part of its state."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("ones", torch.ones(5), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """See ``Network``."""
        self.calls += 1
        return super().forward(images) * self.ones


def parallel() -> nn.Module:
    """A network for several GPUs."""
    return nn.DataParallel(Network())


def compiled() -> nn.Module:
    """A network in the wrapper of ``torch.compile``, which compiles when it is called."""
    return torch.compile(Network())  # type: ignore[return-value]


def _prepared(backbone: Callable[[], nn.Module]) -> Prepared:
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        weights = {name: tensor.clone() for name, tensor in Network().state_dict().items()}
        weights.update(backbone().state_dict() if backbone in (Tied, Frozen, Grey) else {})
    return prepare(NetworkConfig(backbone, weights), 12)


@pytest.fixture
def fine_tuned(tmp_path: Path) -> Callable[..., tuple[nn.Module, nn.Module]]:
    """Makes a network of its own, fine-tunes it for two updates; returns proxy and optimizee."""

    def run(backbone: Callable[[], nn.Module], **settings: Any) -> tuple[nn.Module, nn.Module]:
        class_folders(tmp_path / "source")
        torch.save({k.removeprefix("_orig_mod."): v for k, v in backbone().state_dict().items()}, tmp_path / "w.pt")
        pair = pairs.make(
            "folders", source=tmp_path / "source", backbone=backbone, weights=tmp_path / "w.pt", size=12, n_validation=4
        )
        name = f"own-{backbone.__name__}-{tmp_path.name}"
        pairs.register(name, lambda: pair)
        env = Syn2RealEnv(pairs=name, budget=2, window=2, batch_size=4, device="cpu", **settings)
        env.reset(seed=0)
        _, _, terminated, _, info = env.step(env.action_space.sample() * 0)
        assert terminated and not info["diverged"]
        return pair.proxy, env.episodes.optimizee(0)

    return run


def test_what_its_author_has_frozen_stays(fine_tuned: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "l2o_env")
    proxy, model = fine_tuned(Frozen)
    assert torch.equal(model.network.first.weight, proxy.first.weight)
    assert not torch.equal(model.network.second.weight, proxy.second.weight)
    assert model.network.steps == 3
    assert "3 parameters of Frozen are frozen by its author, and stay so" in caplog.text
    assert list(model.layer_groups()) == ["second", "head"]


def test_weights_that_two_layers_share_stay_one(fine_tuned: Any) -> None:
    proxy, model = fine_tuned(Tied)
    assert torch.equal(model.network.third.weight, model.network.second.weight)
    assert not torch.equal(model.network.third.weight, proxy.third.weight)


@pytest.mark.parametrize(
    "kind",
    [Unused, Half, Double, compiled, parallel, WeightNormed, SpectrallyNormed, Kept, Logs, Counted],
)
def test_what_is_unusual_runs(kind: Callable[[], nn.Module], fine_tuned: Any) -> None:
    proxy, model = fine_tuned(kind)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not torch.equal(model.network.second.weight, proxy.second.weight)


def test_of_a_module_that_is_called_again_the_last_call_counts() -> None:
    model = _prepared(Network).make_model(3, new_generator(0))
    assert model.feature_layer == "network.relu"
    images = torch.randn(2, 3, 12, 12, generator=new_generator(1))
    network = model.network
    expected = network.relu(network.second(network.relu(network.first(images))))  # type: ignore[operator,union-attr]
    assert torch.equal(feature_map(model, images), expected)


@pytest.mark.parametrize(
    ("backbone", "told"),
    [
        (Probable, r"Probable makes probabilities; expected logits\. Leave out the softmax"),
        (Gated, r"expected logits\. Leave out the sigmoid"),
        (Squeezed, r"Squeezed makes \(5,\) of a single image; expected \(1, 5\)\. A \.squeeze\(\)"),
        (Lazy, r"The layer of 'fc\.weight' in Lazy is built when it is first used.*not LazyLinear"),
        (Complex, "The parameter 'phase' of Complex is complex"),
        (scripted, "is a scripted network, whose layers cannot be taken apart"),
        (Grey, r"Grey cannot take images of 12 x 12 pixels .*its first layer has to take three channels"),
        (OldWeightNorm, r"The layer 'second' of OldWeightNorm has a torch\.nn\.utils\.weight_norm.*parametrizations"),
        (Still, "All parameters of Still but its head are frozen"),
    ],
)
def test_what_cannot_work_is_told_in_one_line(backbone: Callable[[], nn.Module], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        _prepared(backbone)
