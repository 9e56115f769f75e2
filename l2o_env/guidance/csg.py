"""Contrastive guidance of CSG (Chen et al., ICLR 2021).

The optimizee's and the frozen proxy's last feature maps of two views of an image are pooled by attention and pulled
together; those of other images, kept in a queue, are pushed apart. What is different here: the projection to
``config.csg_dim`` numbers is a fixed random matrix, the same for both networks (a learned one would be a layer group of
its own), which keeps angles as they are if there are no more channels than that, and nearly otherwise. Views come from
:mod:`l2o_env.guidance.views`. The queue holds at most as many keys as there are training images: older ones
would be of the same images again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.guidance.base import Context, FrozenFeatures, Guidance, TermInputs, positions
from l2o_env.guidance.views import random_view
from l2o_env.models.base import new_generator

_PROJECTION_SEED = 0
_VIEWS = int.from_bytes(b"csg", "little")
"""Keeps the random numbers of views apart from those of the pairs' augmentation, which have the same seeds."""


def attention_pool(features: Tensor) -> Tensor:
    """Weighted mean over the places: ``(batch, channels)``.

    The weight of a place is the scalar product of its vector with the mean over all places, divided by the sum of
    these products; places that are like the image as a whole count most.

    Args:
        features: See :func:`l2o_env.guidance.base.positions`.
    """
    places = positions(features)
    products = (places * places.mean(1, keepdim=True)).sum(-1, keepdim=True)
    # Their sum is the number of places times the square of the mean vector, and so never negative.
    return (places * products).sum(1) / products.sum(1).clamp(min=1e-6)


def info_nce(queries: Tensor, keys: Tensor, queue: Tensor, filled: Tensor, temperature: float) -> Tensor:
    """−log exp(q·k/τ) / (exp(q·k/τ) + Σ exp(q·k'/τ)) over the keys k' of the queue, mean over the batch.

    Args:
        queries: ``(batch, dim)``, of length 1.
        keys: Key of each query, likewise.
        queue: Keys of other images ``(n_keys, dim)``.
        filled: ``(n_keys,)``; which places of the queue hold one.
        temperature: τ.

    Returns:
        A scalar; 0 while the queue is empty.
    """
    positive = (queries * keys).sum(-1, keepdim=True) / temperature
    negative = (queries @ queue.mT) / temperature
    negative = torch.where(filled, negative, -torch.inf)
    return (torch.cat([positive, negative], -1).logsumexp(-1) - positive[..., 0]).mean()


class Contrastive(Guidance):
    """InfoNCE between the optimizee's view and the proxy's."""

    name = "csg"
    needs_feature_layer = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        config = context.config
        self._frozen = FrozenFeatures(context)
        shortest = min(len(pair.train) for pair in context.pairs)
        wanted = min(config.csg_queue, shortest, config.budget * config.batch_size)
        size = max(wanted // config.batch_size, 1) * config.batch_size  # whole batches
        self._queue = torch.zeros(context.n, size, config.csg_dim, device=context.device, dtype=context.dtype)
        self._keys = self._queue.new_zeros(context.n, config.batch_size, config.csg_dim)
        self._projection: Tensor | None = None
        self._seeds = [0] * context.n
        self._batches = np.zeros(context.n, np.int64)

    def start(self, i: int, pair: int, seed: int) -> None:
        """Empties the queue of the i-th optimizee."""
        self._seeds[i], self._batches[i] = seed, 0
        self._queue[i] = 0

    def prepare(self, rows: Sequence[int], pair: int, images: Tensor) -> dict[str, Tensor]:
        """The optimizee's ``views``, the proxy's ``keys`` of others, ``queue`` and its ``filled`` places."""
        rngs = [np.random.default_rng([self._seeds[i], int(self._batches[i]), _VIEWS]) for i in rows]
        views = torch.stack([random_view(batch, rng) for batch, rng in zip(images, rngs, strict=True)])
        others = torch.cat([random_view(batch, rng) for batch, rng in zip(images, rngs, strict=True)])
        pooled = attention_pool(self._frozen(pair, others))
        if self._projection is None:
            self._projection = projection(pooled.shape[-1], self.context.config.csg_dim).to(pooled)
        keys = F.normalize(pooled @ self._projection, dim=-1).unflatten(0, images.shape[:2])
        self._keys[list(rows)] = keys
        kept = torch.as_tensor(self._batches[list(rows)] * keys.shape[1], device=keys.device)
        filled = torch.arange(self._queue.shape[1], device=keys.device) < kept[:, None]
        queue = self._queue if len(rows) == self.context.n else self._queue[list(rows)]
        projections = self._projection.expand(len(rows), -1, -1)
        return {"views": views, "keys": keys, "queue": queue, "filled": filled, "projection": projections}

    def loss(self, inputs: TermInputs) -> Tensor:
        """:func:`info_nce` of the optimizee's views."""
        extras = inputs.extras
        # In the keys' precision: in mixed precision the feature map has less.
        pooled = attention_pool(inputs.encode(extras["views"]).to(extras["projection"].dtype))
        queries = F.normalize(pooled @ extras["projection"], dim=-1)
        return info_nce(queries, extras["keys"], extras["queue"], extras["filled"], self.context.config.csg_temperature)

    def updated(self, active: NDArray[np.bool_]) -> None:
        """Puts the keys of the last batch into the queue, in the place of the oldest."""
        n = self._keys.shape[1]
        for place in np.unique(self._batches[active] * n % self._queue.shape[1]):
            rows = np.flatnonzero(active & (self._batches * n % self._queue.shape[1] == place))
            self._queue[rows, place : place + n] = self._keys[rows]
        self._batches += active

    def get_state(self) -> dict[str, Any]:
        """Queue, and how many batches went through it."""
        return {"queue": self._queue.cpu().clone(), "batches": self._batches.copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes up a state that :meth:`get_state` returned; the seeds come with the episodes' starts."""
        self._queue.copy_(state["queue"])
        self._batches = state["batches"].copy()


def projection(n_channels: int, dim: int) -> Tensor:
    """A random matrix ``(n_channels, dim)`` with orthonormal rows or columns, whichever are fewer; always the same."""
    drawn = torch.randn(max(n_channels, dim), min(n_channels, dim), generator=new_generator(_PROJECTION_SEED))
    orthonormal = torch.linalg.qr(drawn.double()).Q
    return orthonormal if n_channels >= dim else orthonormal.mT
