"""Pairs of random images, for networks of any depth and images of any size."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from l2o_env import pairs
from l2o_env.models.adapted.by_name import builder, local_seed
from l2o_env.models.adapted.fcn8s import FCN8sProxy
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.adapted.prepare import Prepared, prepare
from l2o_env.models.adapted.prepare_dense import prepare_dense
from l2o_env.models.base import Optimizee, new_generator
from l2o_env.models.blocks import initialise

N_CLASSES, N_PROXY_CLASSES, CHANNELS = 10, 5, 8
N_BACKBONE_CLASSES, N_DENSE_CLASSES, N_IMAGENET_CLASSES = 12, 19, 1000
N_CALIBRATION = 8
"""Random images that batch statistics are taken from."""
UNLABELLED = 0.1
"""Share of the pixels of random masks that have no class."""


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


def is_dense(network: str) -> bool:
    """Whether a network is one for segmentation."""
    from torchvision import models

    return network == "fcn8s" or network in models.list_models(module=models.segmentation)


def backbone_pair(network: str, size: int, batch: int, n_batches: int = 4, width: float = 1.0) -> pairs.Pair:
    """A network with random weights on random images, of which one batch is for validation.

    Args:
        network: ``"fcn8s"`` or the name of a torchvision network. Those for classification have VisDA's 12
            classes; those for segmentation have random masks of the 19 of street scenes, with pixels without a class.
        size: Side of the images in pixels.
        batch: Images of a batch.
        n_batches: Training batches.
        width: Channels of FCN-8s, as a share of the published ones.

    Raises:
        ConfigError: If there is no such network.
    """
    dense = is_dense(network)
    n_classes = N_DENSE_CLASSES if dense else N_BACKBONE_CLASSES
    prepared = _prepare_dense(network, size, width) if dense else _prepare(network, size)
    images = _masked_images if dense else _images
    return pairs.Pair(
        name=network,
        train=images(batch * n_batches, size, n_classes, 0),
        validation=images(batch, size, n_classes, 1),
        target=None,
        proxy_test=None,
        proxy=prepared.proxy,
        make_model=partial(prepared.make_model, n_classes),
        make_random_model=partial(prepared.make_random_model, n_classes),
        n_classes=n_classes,
        n_proxy_classes=prepared.n_proxy_classes,
        metric="miou" if dense else "mean_class_accuracy",
    )


def _prepare(network: str, size: int) -> Prepared:
    return prepare(NetworkConfig(network, _random_weights(network, size)))


def _prepare_dense(network: str, size: int, width: float) -> Prepared:
    if network != "fcn8s":
        return prepare_dense(NetworkConfig(network, _random_weights(network.split("_", 1)[1], size)))
    with local_seed(0):
        below = FCN8sProxy(N_IMAGENET_CLASSES, width)
    initialise(below, new_generator(0))  # as large as it goes in, an image comes out
    return prepare_dense(NetworkConfig(network, below.state_dict()), width)


def _random_weights(network: str, size: int) -> dict[str, Tensor]:
    """Weights of a classification network as drawn, with batch statistics of random images.

    Without statistics of its own the activations of a deep residual network double from block to block, and its first
    update diverges.
    """
    model = builder(network)()
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.momentum = 1.0
        else:
            part.training = False
    with torch.no_grad():
        model(_images(N_CALIBRATION, size, 1, 2).images)
    return model.state_dict()


def _masked_images(n: int, size: int, n_classes: int, seed: int) -> pairs.Split:
    generator = new_generator(seed)
    masks = torch.randint(n_classes, (n, size, size), generator=generator)
    masks[torch.rand(masks.shape, generator=generator) < UNLABELLED] = pairs.IGNORED
    return pairs.Split(torch.randn(n, 3, size, size, generator=generator), masks)
