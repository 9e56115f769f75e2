"""A pair that is built in milliseconds: three kinds of noisy blobs, a micro network with a proxy head."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import gymnasium
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from l2o_env import pairs
from l2o_env.models.base import Optimizee, new_generator
from l2o_env.models.blocks import initialise

N_CLASSES = 3
N_PROXY_CLASSES = 2
SIZE = 8
_CHANNELS = 4

TINY: dict[str, Any] = {
    "pairs": "tiny", "budget": 7, "window": 3, "batch_size": 8, "device": "cpu", "optimizer": "sgd",
}  # fmt: skip
"""Settings of an episode of three steps, the last one shorter, in some ten milliseconds; of SGD, which is reckoned
by hand."""


def settings_of(env_id: str) -> dict[str, Any]:
    """``TINY``, or what gives three steps where the first window comes before the first action."""
    return {**TINY, "budget": 10} if env_id == "l2o_env/ASG-v0" else TINY


class TinyNet(Optimizee):
    """Stem and more convolutions of 4 channels, GroupNorm(2), average pool, a proxy head and a new head.

    Layer groups: ``stem``, ``layer1``, (``layer2``, …,) ``head``. Every weight is drawn from the generator.
    """

    feature_layer = "layer1_norm"

    def __init__(
        self, generator: torch.Generator, n_proxy_classes: int = N_PROXY_CLASSES, n_convolutions: int = 1
    ) -> None:
        super().__init__()
        self.convolutions = [f"layer{i}" for i in range(1, n_convolutions + 1)]
        skip_init = nn.utils.skip_init  # a constructor's own initialisation draws from the global generator
        self.stem = skip_init(nn.Conv2d, 3, _CHANNELS, kernel_size=3, stride=2, padding=1, bias=False)
        self.stem_norm = nn.GroupNorm(2, _CHANNELS)
        for name in self.convolutions:
            convolution = skip_init(nn.Conv2d, _CHANNELS, _CHANNELS, kernel_size=3, padding=1, bias=False)
            self.add_module(name, convolution)
            self.add_module(f"{name}_norm", nn.GroupNorm(2, _CHANNELS))
        self.proxy_head = skip_init(nn.Linear, _CHANNELS, n_proxy_classes)
        self.head = skip_init(nn.Linear, _CHANNELS, N_CLASSES)
        initialise(self, generator)
        self.proxy_head.requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the new head ``(batch, 3)`` and of the proxy head ``(batch, n_proxy_classes)``."""
        x = F.relu(self.stem_norm(self.stem(images)))
        for name in self.convolutions:
            x = F.relu(x + self.get_submodule(f"{name}_norm")(self.get_submodule(name)(x)))
        features = x.mean((-2, -1))
        return self.head(features), self.proxy_head(features)

    def layer_groups(self) -> dict[str, list[str]]:
        """The groups ``stem``, ``layer1``, …, and ``head``."""
        names = ("stem", *self.convolutions)
        groups = {name: [f"{name}.weight", f"{name}_norm.weight", f"{name}_norm.bias"] for name in names}
        return {**groups, "head": ["head.weight", "head.bias"]}


class TwoLayers(Optimizee):
    """A body of one weight and a bias, and a head matrix of two weights; groups are not in the order of definition."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 1, bias=False)
        self.body = nn.Linear(1, 1)

    def layer_groups(self) -> dict[str, list[str]]:
        """The groups ``body`` and ``head``."""
        return {"body": ["body.weight", "body.bias"], "head": ["head.weight"]}


class TinyProxy(nn.Module):
    """The proxy: the same network, of which only the proxy head is read."""

    def __init__(self, net: TinyNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, n_proxy_classes)``."""
        return self.net(images)[1]


def _blobs(n: int, noise: float, generator: torch.Generator) -> pairs.Split:
    """Blobs whose place and colour tell the class, under noise."""
    labels = torch.arange(n) % N_CLASSES
    grid = torch.arange(SIZE, dtype=torch.float32)
    centre = 1.5 + 2.0 * labels[:, None] + 0.5 * torch.randn(n, 2, generator=generator)
    dy = (grid[None, :, None] - centre[:, 0, None, None]) ** 2
    dx = (grid[None, None, :] - centre[:, 1, None, None]) ** 2
    colour = 0.5 + torch.rand(n, 3, generator=generator) + F.one_hot(labels, 3)
    images = colour[:, :, None, None] * torch.exp(-(dx + dy) / 4.0)[:, None] - 0.5
    images = images + noise * torch.randn(images.shape, generator=generator)
    return pairs.Split(images.float(), labels)


def _make_model(proxy_net: TinyNet, pretrained: bool, generator: torch.Generator) -> TinyNet:
    model = TinyNet(generator, proxy_net.proxy_head.out_features, len(proxy_net.convolutions))
    taken = {k: v for k, v in proxy_net.state_dict().items() if k.startswith("proxy_head.") or pretrained}
    model.load_state_dict({k: v for k, v in taken.items() if not k.startswith("head.")}, strict=False)
    return model


def tiny_pair(
    seed: int = 0,
    n_train: int = 60,
    n_validation: int = 30,
    n_target: int = 30,
    name: str = "tiny",
    n_proxy_classes: int = N_PROXY_CLASSES,
    n_convolutions: int = 1,
) -> pairs.Pair:
    """Builds the tiny pair.

    Args:
        seed: Determines images and proxy.
        n_train: Training images, ``(n_train, 3, 8, 8)``.
        n_validation: Validation images.
        n_target: Target images, and as many proxy test images.
        name: The pair's name.
        n_proxy_classes: Classes of the proxy.
        n_convolutions: Layer groups between stem and head.
    """
    generator = new_generator(seed)
    train = _blobs(n_train, 0.2, generator)
    validation = _blobs(n_validation, 0.3, generator)
    target = _blobs(n_target, 0.5, generator)
    proxy_images = _blobs(n_target, 0.5, generator)
    proxy_net = TinyNet(generator, n_proxy_classes, n_convolutions).requires_grad_(False).eval()
    return pairs.Pair(
        name=name,
        train=train,
        validation=validation,
        target=target,
        proxy_test=pairs.Split(proxy_images.images, proxy_images.labels % n_proxy_classes),
        proxy=TinyProxy(proxy_net),
        make_model=partial(_make_model, proxy_net, True),
        make_random_model=partial(_make_model, proxy_net, False),
        n_classes=N_CLASSES,
        n_proxy_classes=n_proxy_classes,
    )


def register_tiny(name: str = "tiny", split: Literal["train", "test"] | None = None, **defaults: int) -> None:
    """Registers the tiny pair under a name; keywords of ``pairs.make`` go to :func:`tiny_pair`, over `defaults`."""

    def factory(**kwargs: int) -> pairs.Pair:
        return tiny_pair(**{"name": name, **defaults, **kwargs})  # type: ignore[arg-type]

    pairs.register(name, factory, split=split)


def register_tinies() -> tuple[str, str]:
    """Registers two tiny pairs with different numbers of proxy classes, once, and returns their names."""
    if "tiny" not in pairs.names():
        register_tiny()
    if "tiny-4" not in pairs.names():
        register_tiny("tiny-4", seed=1, n_train=45, n_validation=33, n_proxy_classes=4)
    return "tiny", "tiny-4"


def register_tiny_deep() -> str:
    """Registers a tiny pair whose network has five layer groups, once, and returns its name."""
    if "tiny-deep" not in pairs.names():
        register_tiny("tiny-deep", n_convolutions=3)
    return "tiny-deep"


def make_tiny_env(**config: Any) -> gymnasium.Env[Any, Any]:
    """An environment on the tiny pair, also in a worker process that has not registered it yet."""
    torch.set_num_threads(1)  # as in conftest.py: results are the same bit for bit for the same number of threads
    register_tinies()
    return gymnasium.make("l2o_env/Syn2Real-v0", **{**TINY, **config})
