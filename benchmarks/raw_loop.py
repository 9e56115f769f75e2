"""The yardstick: guided fine-tuning in plain PyTorch, as a good engineer writes it for one network.

Of this package it uses the pair's data and its network (a plain ``nn.Module``, its layers as its author wrote them),
nothing else. What the environment pays for and a training script does not need (statistics, observations, rewards, a
restart after divergence) is not in it. What helps a script is: data and proxy outputs on the device, fused SGD,
multi-tensor clipping, on a GPU ``channels_last``, nothing read back between validations. (On a CPU ``channels_last``
makes the embedded network's updates 5 % faster and its validations 40 % slower, so it is not used there.)
"""

from __future__ import annotations

from copy import deepcopy
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from l2o_env.models.adapted.folded_norms import unfold_norms
from l2o_env.pairs.images.image_split import ImageSplit
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.splits import Split, decoded


class Recipe(NamedTuple):
    """Settings of the loop: the environment's defaults with SGD, the only optimizer that the loop has."""

    budget: int = 300
    window: int = 15
    batch_size: int = 32
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip_norm: float = 5.0
    guidance_weight: float = 0.3
    optimizer: str = "sgd"


class RawLoop:
    """Fine-tunes one network of a pair, window after window.

    Args:
        pair: The data, the proxy and the network.
        recipe: Settings.
        device: Where it runs.
        channels_last: Whether images and weights are stored channels last; None: on a GPU.
        compile: Whether the network is compiled.
        dtype: Floating-point type.
    """

    def __init__(
        self,
        pair: Pair,
        recipe: Recipe,
        device: torch.device | str = "cpu",
        *,
        channels_last: bool | None = None,
        compile: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.pair, self.recipe, self.device, self.dtype = pair, recipe, torch.device(device), dtype
        self.compile = compile
        last = self.device.type == "cuda" if channels_last is None else channels_last
        self.format = torch.channels_last if last else torch.contiguous_format
        train, validation = _decoded(pair.train), _decoded(pair.validation)
        self.images, self.labels, self.probs = self._on_device(train.images, train.labels)
        self.val_images, self.val_labels, self.val_probs = self._on_device(validation.images, validation.labels)

    def _on_device(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        images = images.to(self.device, self.dtype, memory_format=self.format)
        proxy = deepcopy(self.pair.proxy).to(self.device, self.dtype)
        with torch.no_grad():
            probs = torch.cat([proxy(chunk) for chunk in images.split(200)]).softmax(-1)
        return images, labels.to(self.device), probs

    def start(self, seed: int = 0) -> tuple[float, float, float]:
        """A new network and its validation; `seed` is that of the new head, and plus one that of the batches."""
        model = self.pair.make_model(torch.Generator().manual_seed(seed))
        unfold_norms(model)
        self.model: nn.Module = model.to(self.device, self.dtype).to(memory_format=self.format).eval()
        named = dict(self.model.named_parameters())
        if self.compile:
            self.model.compile(dynamic=False)
        self.params = [p for p in named.values() if p.requires_grad]
        self.optimizer = torch.optim.SGD(
            [{"params": [named[name] for name in group], "lr": 0.0} for group in model.layer_groups().values()],
            momentum=self.recipe.momentum,
            weight_decay=self.recipe.weight_decay,
            fused=True,
        )
        generator, n = torch.Generator().manual_seed(seed + 1), len(self.labels)
        wanted = self.recipe.budget * self.recipe.batch_size
        epochs = [torch.randperm(n, generator=generator) for _ in range(-(-wanted // n))]
        order = torch.cat(epochs)[:wanted].view(self.recipe.budget, self.recipe.batch_size)
        self.batches = iter(order.to(self.device))
        return self.validate()

    def window(self, rates: list[float]) -> tuple[float, float, float]:
        """`window` updates with one learning rate per layer group, then a validation."""
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        for _, batch in zip(range(self.recipe.window), self.batches, strict=False):
            logits, proxy_logits = self.model(self.images[batch])
            loss = F.cross_entropy(logits, self.labels[batch])
            kl = F.kl_div(proxy_logits.log_softmax(-1), self.probs[batch], reduction="batchmean")
            self.optimizer.zero_grad()
            (loss + self.recipe.guidance_weight * kl).backward()
            nn.utils.clip_grad_norm_(self.params, self.recipe.clip_norm, foreach=True)
            self.optimizer.step()
        return self.validate()

    @torch.inference_mode()
    def validate(self) -> tuple[float, float, float]:
        """Cross-entropy, KL divergence and accuracy on the validation images."""
        parts = [self.model(chunk) for chunk in self.val_images.split(200)]
        logits, proxy_logits = (torch.cat(column) for column in zip(*parts, strict=True))
        ce = F.cross_entropy(logits, self.val_labels)
        kl = F.kl_div(proxy_logits.log_softmax(-1), self.val_probs, reduction="batchmean")
        accuracy = (logits.argmax(-1) == self.val_labels).to(self.dtype).mean()
        values = torch.stack([ce, kl, accuracy]).tolist()  # the one read-back
        return values[0], values[1], values[2]

    def weights(self) -> Tensor:
        """The trained weights ``(n_weights,)``, layer group after layer group."""
        return torch.cat([p.detach().reshape(-1) for group in self.optimizer.param_groups for p in group["params"]])


def _decoded(split: Split | ImageSplit) -> Split:
    """The images as a script keeps them where they fit: in memory, decoded before it begins."""
    return split if isinstance(split, Split) else decoded(split, range(len(split)))
