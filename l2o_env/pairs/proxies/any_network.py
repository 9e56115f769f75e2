"""Pretrains a proxy of any network on a folder of real images, or takes it from the cache."""

from __future__ import annotations

import inspect
import sysconfig
from copy import deepcopy
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn

from l2o_env.errors import ConfigError
from l2o_env.models.adapted.by_name import builder, file_of, is_name, local_seed
from l2o_env.models.adapted.checks import check_network
from l2o_env.models.adapted.heads import find_head, head_of, n_classes_of
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.models.base import new_generator
from l2o_env.pairs.cache import Tensors, cached
from l2o_env.pairs.images.image_split import ImageSplit
from l2o_env.pairs.proxies.pretraining import ProxyTraining, fit, tell_accuracy
from l2o_env.pairs.splits import decoded

FORMAT = 2
"""Part of the key of the cache; to be raised whenever the training changes."""
_INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib"))
"""Folders of what comes in versions, of which the layers tell enough."""
CLIP_NORM = 1.0
"""Norm that gradients are clipped to: a deep network without normalisation, such as VGG, diverges or dies without."""


def trained_weights(
    network: NetworkConfig, images: ImageSplit, n_classes: int, training: ProxyTraining, seed: int
) -> Tensors:
    """The weights of a proxy that was trained on real images; its batch statistics are trained too.

    Args:
        network: Which network.
        images: Real images in one size, all of which are held in memory while it trains; with masks, the network has
            logits for every place.
        n_classes: Their classes.
        training: How to train.
        seed: Determines weights and batches.

    Raises:
        ConfigError: If the network has another number of classes or cannot take the images, or the training diverges.
    """
    proxy = _drawn(network, images, n_classes, seed)

    def train() -> Tensors:
        data = decoded(images, range(len(images)))
        with local_seed(seed):  # for dropout, which draws from the global generator
            fit(proxy.train(), data, new_generator(seed), training, clip_norm=CLIP_NORM)
        weights = {name: tensor.detach().clone() for name, tensor in proxy.state_dict().items()}
        if not all(tensor.isfinite().all() for tensor in weights.values()):
            raise ConfigError(
                f"The proxy's training diverged at a proxy_learning_rate of {training.learning_rate}; give a lower one."
            )
        tell_accuracy(proxy.eval(), data, training.batch_size)
        return weights

    template = {name: tensor.detach() for name, tensor in proxy.state_dict().items()}
    return cached("proxy-own", _key(network, proxy, images, training, seed), template, train)


def _drawn(network: NetworkConfig, images: ImageSplit, n_classes: int, seed: int) -> nn.Module:
    """The network as its constructor draws it; raises ``ConfigError`` unless it fits the images and their classes."""
    build, dense = builder(network.backbone), images.labels is None
    proxy = build(seed, num_classes=n_classes) if is_name(network.backbone) else build(seed)
    head = find_head(proxy, network.head, dense=dense)
    n_of_head = n_classes_of(head_of(proxy, head))
    if n_of_head != n_classes:
        raise ConfigError(
            f"{type(proxy).__name__} has {n_of_head} classes, and proxy_data {n_classes}; make its last layer fit."
        )
    check_network(deepcopy(proxy).eval(), head, images.side, dense=dense)
    return proxy


def _key(
    network: NetworkConfig, proxy: nn.Module, images: ImageSplit, training: ProxyTraining, seed: int
) -> dict[str, Any]:
    """All that the weights depend on, as far as it can be told: of a network its name, layers, code, and answers."""
    name = network.backbone if isinstance(network.backbone, str) else getattr(network.backbone, "__qualname__", "")
    key = {"format": FORMAT, "seed": seed, "training": asdict(training), "network": f"{name}\n{proxy}"}
    key["answers"] = _answers(proxy, images.side)
    file = file_of(network.backbone) if isinstance(network.backbone, str) else None
    if file is not None:  # whose forward pass may be another one than before
        key["file"] = sha256(file.read_bytes()).hexdigest()
    code = _own_code(proxy)
    if code:
        key["code"] = code
    return key | {"images": sha256(images.fingerprint().encode()).hexdigest()}


def _answers(network: nn.Module, side: int) -> str:
    """A digest of the outputs for random images: they depend on all that neither layers nor their files tell.

    Such as attributes, what a function was given, or what other files hold. They are rounded, because another machine
    rounds them in another way.
    """
    network, digest = deepcopy(network), sha256()
    images = torch.randn(2, 3, side, side, generator=new_generator(0))
    for training in (True, False):  # dropout tells of itself in the first alone
        with local_seed(0), torch.no_grad():
            logits = network.train(training)(images)
        digest.update((100 * logits / logits.abs().max()).round().to(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def _own_code(network: nn.Module) -> str:
    """A digest of the files of all classes of a network's modules that no package has installed; empty without any."""
    files = set()
    for kind in {base for module in network.modules() for base in type(module).__mro__}:
        try:
            path = Path(inspect.getfile(kind)).resolve()
        except (OSError, TypeError):  # built in, or made in an interpreter: their layers have to do
            continue
        if not any(path.is_relative_to(folder) for folder in _INSTALLED):
            files.add(path)
    if not files:
        return ""
    return sha256(
        "".join(sorted(sha256(path.read_bytes()).hexdigest() for path in files if path.is_file())).encode()
    ).hexdigest()
