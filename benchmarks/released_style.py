"""A plain PyTorch loop as the released ASG code goes about it, to compare large networks with."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from l2o_env.config import EnvConfig, resolve_device
from l2o_env.models.base import new_generator
from l2o_env.models.losses import IGNORED
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.splits import in_memory


class ReleasedStyle:
    """Guided fine-tuning in float32, with nothing kept that could be computed again.

    The proxy runs on every batch, images come from the host, losses are read back at every update, and the network is
    in ``eval()`` mode. For classification the update is a Python loop over parameters with the rate inside the
    momentum buffer, for segmentation ``torch.optim.SGD``.

    Args:
        pair: Images in memory, the proxy and the network.
        config: Batch size, base rate, momentum, weight decay, update rule, weight and cap of the KL term, device.
        dtype: Floating-point type; the released code has float32.
    """

    def __init__(self, pair: Pair, config: EnvConfig, dtype: torch.dtype = torch.float32) -> None:
        self.train, self.config, self.dtype = in_memory(pair.train), config, dtype
        self.device = resolve_device(config.device)
        self.model = pair.make_model(new_generator(0)).to(self.device, dtype).eval()
        self.proxy = deepcopy(pair.proxy).to(self.device, dtype).eval()
        self.params = [p for p in self.model.parameters() if p.requires_grad]
        self.losses: list[float] = []
        self._momenta: list[Tensor] = []
        self._update: Callable[[], object] = self._rate_in_momentum
        if config.optimizer == "sgd":
            self._update = torch.optim.SGD(
                self.params, config.base_lr, config.momentum, weight_decay=config.weight_decay
            ).step

    def window(self, n_updates: int) -> None:
        """Makes some updates, on the first batches of the training images."""
        batch = self.config.batch_size
        for update in range(n_updates):
            start = update * batch % len(self.train)
            images = self.train.images[start : start + batch].to(self.device, self.dtype)
            labels = self.train.labels[start : start + batch].to(self.device)
            loss = self._loss(images, labels)
            self.model.zero_grad()
            loss.backward()
            self._update()
            self.losses.append(loss.item())

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            probs = self.proxy(images).softmax(1)
        logits, proxy_logits = self.model(images)
        # Means over the images, or over all labelled pixels and all places of the proxy's map.
        kl = F.kl_div(proxy_logits.log_softmax(1), probs, reduction="none").sum(1).mean()
        ce = F.cross_entropy(logits, labels, ignore_index=IGNORED)
        return ce + (self.config.guidance_weight * kl).clamp(max=self.config.guidance_cap or torch.inf)

    def _rate_in_momentum(self) -> None:
        config = self.config
        self._momenta = self._momenta or [torch.zeros_like(p) for p in self.params]
        for p, v in zip(self.params, self._momenta, strict=True):
            assert p.grad is not None
            v.mul_(config.momentum).add_(p.grad + config.weight_decay * p.data, alpha=config.base_lr)
            p.data.sub_(v)
