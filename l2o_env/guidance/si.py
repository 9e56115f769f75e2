"""Synaptic intelligence (Zenke, Poole & Ganguli, ICML 2017): weights that mattered to the proxy's task are held.

Where Ω comes from: Ω is zero until a first task has ended, and the proxy's pretraining is that task. A pair whose proxy
this package trains brings ω of that training (``Pair.importance``; :class:`PathIntegral` accumulates it). Where only
weights exist (a downloaded network), Ω is the diagonal of the Fisher information instead: the mean square of the
gradient of log p(ŷ|x), ŷ being the class that the proxy itself says, over ``FISHER_IMAGES`` source images. The two
differ in scale, and so do the weights λ that suit them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from l2o_env.guidance.base import Context, Guidance, TermInputs
from l2o_env.models.base import new_generator
from l2o_env.models.importance import fisher_importance

if TYPE_CHECKING:
    from l2o_env.models.layout import Layout
    from l2o_env.pairs.pair import Pair


FISHER_IMAGES = 256
"""Source images that the Fisher information is estimated from, evenly spread over the training images."""


def importance_penalty(weights: Tensor, reference: Tensor, importance: Tensor) -> Tensor:
    """Σ Ω (θ − θ*)², a scalar, of flat weights, θ* and Ω ``(n_weights,)``."""
    return (importance * (weights - reference).square()).sum(-1)


class SynapticIntelligence(Guidance):
    """Σ Ω (θ − θ*)². With ``random_init`` no weight has a task behind it, and Ω is zero."""

    name = "si"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._importance = [self._of_pair(pair) for pair in context.pairs]

    def _of_pair(self, pair: Pair) -> Tensor:
        context = self.context
        flat = torch.zeros(context.layout.n_weights, device=context.device, dtype=context.dtype)
        if context.config.random_init:
            return flat
        return flatten_known(context.layout, importance_of(pair, context.device)).to(context.device, context.dtype)

    def prepare(self, rows: Sequence[int], pair: int, images: Tensor) -> dict[str, Tensor]:
        """Ω as ``importance``, the same for all `rows`."""
        return {"importance": self._importance[pair].expand(len(rows), -1)}

    def loss(self, inputs: TermInputs) -> Tensor:
        """:func:`importance_penalty`."""
        return importance_penalty(inputs.weights, inputs.reference, inputs.extras["importance"])


def importance_of(pair: Pair, device: torch.device) -> dict[str, Tensor]:
    """Ω of a pair's proxy by parameter name: its own, or else the Fisher information; see the module."""
    from l2o_env.pairs.splits import images_of

    if pair.importance is not None:
        return pair.importance()
    model = pair.make_model(new_generator(0)).to(device).eval()
    every = max(len(pair.train) // FISHER_IMAGES, 1)
    images = images_of(pair.train, range(0, len(pair.train), every)[:FISHER_IMAGES]).to(device)
    return fisher_importance(model, images)


def flatten_known(layout: Layout, named: Mapping[str, Tensor]) -> Tensor:
    """Concatenates named tensors to ``(n_weights,)``; parameters that have none, such as the new head's, get zeros."""
    parts = [
        named[name].reshape(-1).cpu() if name in named else torch.zeros(shape.numel())
        for name, shape in zip(layout.names, layout.shapes, strict=True)
    ]
    return torch.cat(parts)
