"""Pairs of random images, for networks of any depth and images of any size."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from l2o_env import pairs
from l2o_env.models.backbone import Backbone
from l2o_env.models.base import Optimizee, new_generator
from l2o_env.models.building import builder
from l2o_env.models.groups import find_groups
from l2o_env.models.heads import find_head
from l2o_env.models.small import initialise

N_CLASSES, N_PROXY_CLASSES, CHANNELS = 10, 5, 8


class Stack(Optimizee):
    """Convolutions of 8 channels with GroupNorm, one layer group each, and two heads; it has no kernels of its own.

    Args:
        depth: Layer groups without the head.
        generator: Draws all weights.
    """

    def __init__(self, depth: int, generator: torch.Generator) -> None:
        super().__init__()
        conv = partial(nn.utils.skip_init, nn.Conv2d, kernel_size=3, padding=1, bias=False)
        self.convs = nn.ModuleList(conv(3 if i == 0 else CHANNELS, CHANNELS) for i in range(depth))
        self.norms = nn.ModuleList(nn.GroupNorm(4, CHANNELS) for _ in range(depth))
        self.head = nn.utils.skip_init(nn.Linear, CHANNELS, N_CLASSES)
        self.proxy_head = nn.utils.skip_init(nn.Linear, CHANNELS, N_PROXY_CLASSES)
        initialise(self, generator)
        self.proxy_head.requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = images
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = F.relu(norm(conv(x)))
            x = y if i == 0 else x + y
        features = x.mean((-2, -1))
        return self.head(features), self.proxy_head(features)

    def layer_groups(self) -> dict[str, list[str]]:
        layers = {
            f"layer{i}": [f"convs.{i}.weight", f"norms.{i}.weight", f"norms.{i}.bias"] for i in range(len(self.convs))
        }
        return {**layers, "head": ["head.weight", "head.bias"]}


class _ProxyOf(nn.Module):
    """The proxy's head of an optimizee."""

    def __init__(self, model: Optimizee) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)[1]


def _images(n: int, size: int, n_classes: int, seed: int) -> pairs.Split:
    generator = new_generator(seed)
    return pairs.Split(torch.randn(n, 3, size, size, generator=generator), torch.arange(n) % n_classes)


def stack_name(depth: int, size: int) -> str:
    """Name of the pair of a ``Stack`` on square images, which is registered if it is not yet."""
    name = f"stack-{depth}-{size}"
    if name not in pairs.names():
        pairs.register(name, partial(_stack_pair, name, depth, size))
    return name


def _stack_pair(name: str, depth: int, size: int) -> pairs.Pair:
    make = partial(Stack, depth)
    train, validation = (_images(n, size, N_CLASSES, seed) for seed, n in enumerate((256, 64)))
    return pairs.Pair(
        name=name,
        train=train,
        validation=validation,
        target=None,
        proxy_test=None,
        proxy=_ProxyOf(make(new_generator(0))),
        make_model=make,
        make_random_model=make,
        n_classes=N_CLASSES,
        n_proxy_classes=N_PROXY_CLASSES,
    )


def backbone_pair(network: str, size: int, batch: int, n_batches: int, n_classes: int = 12) -> pairs.Pair:
    """A torchvision network with random weights on random images, of which one batch is for validation."""
    proxy = builder(network)().requires_grad_(False).eval()
    head = find_head(proxy)
    bare = builder(network)()
    bare.set_submodule(head, nn.Identity())
    groups = find_groups(bare)

    def make(generator: torch.Generator) -> Optimizee:
        model = builder(network)()
        model.load_state_dict(proxy.state_dict())
        return Backbone(model, head, n_classes, generator, groups)

    return pairs.Pair(
        name=network,
        train=_images(batch * n_batches, size, n_classes, 0),
        validation=_images(batch, size, n_classes, 1),
        target=None,
        proxy_test=None,
        proxy=proxy,
        make_model=make,
        make_random_model=make,
        n_classes=n_classes,
        n_proxy_classes=1000,
    )
