"""A stacked population whose updates are recorded as CUDA graphs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.config import EnvConfig
from l2o_env.guidance.weight import GuidanceWeight
from l2o_env.inner.cuda_graph import GraphedCall
from l2o_env.inner.population import Gradients
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.stacked_update import clipped, masked_step
from l2o_env.inner.window import Window
from l2o_env.pairs.pair import Pair


class GraphedPopulation(StackedPopulation):
    """A stacked population for a GPU: gradients and updates are one launch each.

    A small network leaves a GPU waiting for the next of some hundred launches per update; as graphs they are two. All
    that the graphs read and write stays in place: weights, momentum, rates, the guidance's weights, images. Without
    a GPU the same code runs without graphs. Guidance terms beyond KL are computed outside of graphs, because they may
    keep books on the host.
    """

    def __init__(self, pairs: Sequence[Pair], n: int, config: EnvConfig, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(pairs, n, config, dtype, kernels=False)
        self._rates = torch.zeros_like(self.weights)
        self.guidance_weight = GuidanceWeight(config, self.weights, n, in_place=True)
        self._losses_and_gradients = {flag: GraphedCall(partial(self._outputs, flag)) for flag in (False, True)}
        self._step = GraphedCall(self._stepped, changes=(self.weights, *self.state.values()))

    def _end_window(self, window: Window) -> None:
        """Nothing is let go of: the graphs go on with these buffers."""

    def _set_rates(self, rates: Tensor) -> None:
        self._rates.copy_(self.layout.expand(rates.to(self.device, self.dtype)))

    def _gradients(self, index: Tensor, *, separate: bool) -> Gradients:
        if self.guidance.beyond_kl:
            return super()._gradients(index, separate=separate)
        total, ce, kl, scale, *guidance = self._losses_and_gradients[separate](index + self._offset)
        self._gradient = total
        return Gradients(total, guidance[0] if separate else None, ce, kl, scale)

    def _outputs(self, separate: bool, index: Tensor) -> tuple[Tensor, ...]:
        total, guidance, ce, kl, scale = self._graph_gradients(index, separate)
        assert isinstance(scale, Tensor)
        return (total, ce, kl, scale) if guidance is None else (total, ce, kl, scale, guidance)

    def _update(self, active: NDArray[np.bool_], mask: Tensor) -> None:
        self._step(self._gradient, mask)

    def _stepped(self, gradient: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        gradient = clipped(gradient, self.config.clip_norm)
        masked_step(self.rule, self.weights, gradient, self._rates, self.state, mask[:, None])
        return ()
