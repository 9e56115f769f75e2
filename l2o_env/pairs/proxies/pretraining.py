"""Pretrains a network on real images: what all proxies that this package trains have in common."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from l2o_env.errors import ConfigError
from l2o_env.models.importance import PathIntegral
from l2o_env.models.losses import IGNORED, task_loss
from l2o_env.pairs.announce import announced
from l2o_env.pairs.splits import Split
from l2o_env.threads import one_torch_thread

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
    n_updates = training.epochs * len(batches(torch.arange(len(data)), training.batch_size))
    optimizer = torch.optim.SGD(
        proxy.parameters(), training.learning_rate, momentum=0.9, nesterov=True, weight_decay=training.weight_decay
    )
    path = PathIntegral(dict(proxy.named_parameters()) if track else {})
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_factor, total=n_updates))
    announcement = announced("Pretraining a proxy, once", training.epochs)
    # One thread: sums of several are in another order, and so other bits.
    with one_torch_thread(), torch.enable_grad(), announcement as advance:
        for _ in range(training.epochs):
            for batch in batches(torch.randperm(len(data), generator=generator), training.batch_size):
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


def batches(order: Tensor, size: int) -> list[Tensor]:
    """Parts of `size` images, the last with what is left; a single image joins those before it.

    Batch normalisation of one image alone has nothing to take a variance of.
    """
    parts = list(order.split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


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
