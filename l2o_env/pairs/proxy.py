"""Pretrains the proxy of a glyph pair on real digits, or takes it from the cache."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from l2o_env.dense import IGNORED, task_loss
from l2o_env.errors import ConfigError
from l2o_env.guidance.si import PathIntegral
from l2o_env.models.base import new_generator
from l2o_env.models.small import NetworkName, SmallProxy
from l2o_env.pairs.base import Split
from l2o_env.pairs.cache import Tensors, cached
from l2o_env.progress import announced

# Part of the key of the cache. Raise it whenever data, network or training change, or old proxies are taken for new.
FORMAT = 2
_log = logging.getLogger("l2o_env")


@dataclass(frozen=True)
class ProxyTraining:
    """How a proxy is pretrained: SGD with Nesterov momentum 0.9, warm-up and a cosine to zero.

    Attributes:
        epochs: Passes over the images, at least 1.
        batch_size: Images per update, at least 1.
        learning_rate: Highest learning rate, above 0.
        weight_decay: Weight decay, at least 0.
    """

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 0.1
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        """Raises ``ConfigError`` if a value is outside its range."""
        for field in ("epochs", "batch_size"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} is {getattr(self, field)!r}; it must be at least 1.")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate is {self.learning_rate!r}; it must be above 0.")
        if not self.weight_decay >= 0:
            raise ConfigError(f"weight_decay is {self.weight_decay!r}; it must be at least 0.")


def get_proxy(
    data: Callable[[], Split],
    n_proxy_classes: int,
    seed: int,
    training: ProxyTraining,
    data_settings: dict[str, Any],
    network: NetworkName = "small",
) -> SmallProxy:
    """The frozen proxy, from the cache if it is there.

    Args:
        data: Makes the images to pretrain on; called only if they are needed.
        n_proxy_classes: Classes of the proxy.
        seed: Determines weights and batches.
        training: How to pretrain.
        data_settings: All that determines ``data``; part of the key of the cache.
        network: Which network it is.

    Returns:
        A network in evaluation mode that needs no gradient.
    """
    proxy = SmallProxy(n_proxy_classes, new_generator(seed), network)
    settings = _settings(n_proxy_classes, seed, training, data_settings, network)
    proxy.load_state_dict(
        cached(
            "proxy", settings, proxy.state_dict(), lambda: pretrain(data(), n_proxy_classes, seed, training, network)
        )
    )
    return proxy.requires_grad_(False).eval()


def get_importance(
    data: Callable[[], Split],
    n_proxy_classes: int,
    seed: int,
    training: ProxyTraining,
    data_settings: dict[str, Any],
    network: NetworkName = "small",
) -> Tensors:
    """Ω of synaptic intelligence from the training of the very proxy that :func:`get_proxy` gives, by parameter name.

    It is kept beside the proxy; where it is not there yet, the proxy's training is run once more. Arguments as there.
    """
    template = dict(SmallProxy(n_proxy_classes, new_generator(seed), network).named_parameters())
    settings = _settings(n_proxy_classes, seed, training, data_settings, network)

    def build() -> Tensors:
        return _train(data(), n_proxy_classes, seed, training, network, track=True)[1].importance()

    return cached("importance", settings, {name: p.detach() for name, p in template.items()}, build)


def _settings(
    n_proxy_classes: int, seed: int, training: ProxyTraining, data_settings: dict[str, Any], network: NetworkName
) -> dict[str, Any]:
    """All that a proxy depends on."""
    settings: dict[str, Any] = {"format": FORMAT, "seed": seed, "n_proxy_classes": n_proxy_classes, "network": network}
    return settings | {"training": asdict(training), "data": data_settings}


def pretrain(
    data: Split, n_proxy_classes: int, seed: int, training: ProxyTraining, network: NetworkName = "small"
) -> Tensors:
    """Trains a proxy on the CPU, on one thread, so that its weights are the same bits in every process.

    Args:
        data: Images and labels of the proxy.
        n_proxy_classes: Classes of the proxy.
        seed: Determines weights and batches.
        training: How to train.
        network: Which network it is.

    Returns:
        The state of a :class:`SmallProxy`.
    """
    proxy, _ = _train(data, n_proxy_classes, seed, training, network)
    return {name: tensor.detach().clone() for name, tensor in proxy.state_dict().items()}


def _train(
    data: Split, n_proxy_classes: int, seed: int, training: ProxyTraining, network: NetworkName, track: bool = False
) -> tuple[SmallProxy, PathIntegral]:
    generator = new_generator(seed)
    proxy = SmallProxy(n_proxy_classes, generator, network)
    return proxy, fit(proxy, data, generator, training, track)


def fit(
    proxy: nn.Module,
    data: Split,
    generator: torch.Generator,
    training: ProxyTraining,
    track: bool = False,
    clip_norm: float = math.inf,
) -> PathIntegral:
    """Trains a network on the CPU, on one thread.

    Args:
        proxy: Changed in place.
        data: Images and their labels, or one label per pixel; logits of a lower resolution are enlarged to those.
        generator: Draws the order of the images.
        training: How to train.
        track: Whether the path integral of synaptic intelligence is wanted.
        clip_norm: Gradients are clipped to this norm.

    Returns:
        The path integral, empty unless it is tracked.
    """
    n = len(data)
    per_epoch = -(-n // training.batch_size)
    optimizer = torch.optim.SGD(
        proxy.parameters(), training.learning_rate, momentum=0.9, nesterov=True, weight_decay=training.weight_decay
    )
    path = PathIntegral(dict(proxy.named_parameters()) if track else {})
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_factor, total=training.epochs * per_epoch))
    telling = announced("Pretraining a proxy on real images, once", training.epochs)
    with _one_thread(), torch.enable_grad(), telling as advance:
        for _ in range(training.epochs):
            for batch in torch.randperm(n, generator=generator).split(training.batch_size):
                optimizer.zero_grad()
                labels = data.labels[batch]
                task_loss(_logits(proxy, data.images[batch], labels), labels).backward()
                if clip_norm < math.inf:
                    torch.nn.utils.clip_grad_norm_(proxy.parameters(), clip_norm)
                optimizer.step()
                path.updated()
                schedule.step()
            advance()
    return path


def _logits(proxy: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """One vector of logits for each label: of every place they are enlarged to the labels of pixels."""
    logits = proxy(images)
    if labels.dim() == 1:
        return logits
    return F.interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=False)


@torch.no_grad()
def tell_accuracy(proxy: nn.Module, data: Split, batch_size: int) -> None:
    """Logs how much of its training data a proxy names rightly; warns if that is no better than one and the same name.

    Args:
        proxy: The network, in evaluation mode.
        data: What it was trained on; where pixels have labels, they are counted, those without a class not.
        batch_size: Images at a time.
    """
    right, what = 0, "training images" if data.labels.dim() == 1 else "labelled training pixels"
    for images, labels in zip(data.images.split(batch_size), data.labels.split(batch_size), strict=True):
        right += int((_logits(proxy, images, labels).argmax(1) == labels).sum())
    counts = data.labels[data.labels != IGNORED].bincount(minlength=1)
    n, most = max(int(counts.sum()), 1), int(counts.max())
    _log.info("The proxy names %.0f %% of its %s rightly.", 100 * right / n, what)
    if right <= most < n:
        _log.warning(
            "The proxy learned nothing: %.0f %% of its %s are of one class. Give another proxy_learning_rate or more "
            "proxy_epochs.",
            100 * most / n,
            what,
        )


def _factor(step: int, total: int) -> float:
    """Linear from 0.05 to 1 over the first fifth of the updates, a cosine to 0 over the rest."""
    warm_up = max(1, total // 5)
    if step < warm_up:
        return 0.05 + 0.95 * step / warm_up
    return 0.5 + 0.5 * math.cos(math.pi * (step - warm_up) / max(1, total - warm_up))


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
