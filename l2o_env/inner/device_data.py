"""A pair's images in memory, as a population uses them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from l2o_env.inner.stream_data import Batch, no_images
from l2o_env.models.base import resident
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.splits import Split

EVALUATION_CHUNK = 200
"""Images per forward pass outside training; small enough for a CPU's caches."""


class DeviceData:
    """A pair's images on the device, with the proxy's outputs on the source, computed once."""

    def __init__(self, pair: Pair, device: torch.device, dtype: torch.dtype, n_proxy_classes: int) -> None:
        self.pair = pair
        self._device, self._dtype = device, dtype
        self._padding = n_proxy_classes - pair.n_proxy_classes
        assert isinstance(pair.train, Split)
        assert isinstance(pair.validation, Split)
        self.train = self._move(pair.train)
        self.validation = self._move(pair.validation)
        self.n_train = len(pair.train)
        self.waited = 0.0
        self._evaluated: dict[str, Split] = {}
        self._shifted_probs: Tensor | None = None
        self.train_probs = self._proxy_probs(self.train.images)
        self.validation_probs = self._proxy_probs(self.validation.images)

    def _move(self, split: Split) -> Split:
        return Split(split.images.to(self._device, self._dtype), split.labels.to(self._device))

    def _proxy_probs(self, images: Tensor) -> Tensor:
        proxy = resident(self.pair.proxy, self._device, self._dtype)
        with torch.no_grad():
            logits = torch.cat([proxy(chunk) for chunk in images.split(EVALUATION_CHUNK)])
        return F.pad(logits.softmax(1), (*(0, 0) * (logits.dim() - 2), 0, self._padding))

    def begin(self, seed: int, order: Tensor, seeds: Sequence[int]) -> None:
        """Makes the batches of an episode known; images in memory need no such notice."""

    def batch(self, index: Tensor, seed: int, update: int) -> Batch:
        """The training images of these indices."""
        return Batch(self.train.images[index], self.train.labels[index], self.train_probs[index])

    def whole(self, name: str) -> Batch:
        """All images of a split; with the proxy's outputs for the validation and the shifted images."""
        if name == "validation" or (name == "shifted" and self.pair.shifted is None):
            return Batch(self.validation.images, self.validation.labels, self.validation_probs)
        split = self.evaluation_split(name)
        if name == "shifted" and self._shifted_probs is None:
            self._shifted_probs = self._proxy_probs(split.images)
        return Batch(split.images, split.labels, self._shifted_probs if name == "shifted" else None)

    def chunks(self, name: str) -> Iterator[Batch]:
        """:meth:`whole` in parts."""
        images, labels, probs = self.whole(name)
        for start in range(0, len(labels), EVALUATION_CHUNK):
            part = slice(start, start + EVALUATION_CHUNK)
            yield Batch(images[part], labels[part], None if probs is None else probs[part])

    def evaluation_split(self, name: str) -> Split:
        """The shifted, the target or the proxy's test images, moved when they are first asked for."""
        if name not in self._evaluated:
            split = self.pair.split(name)
            if split is None:
                raise no_images(self.pair, name)
            assert isinstance(split, Split)
            self._evaluated[name] = self._move(split)
        return self._evaluated[name]
