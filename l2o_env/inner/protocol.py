"""What the episodes ask of the inner loop, whatever runs it: one population, blocks of it, or worker processes."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.inner.metrics import Evaluation
from l2o_env.inner.window import Start, Window, WindowTime
from l2o_env.models.base import Optimizee
from l2o_env.models.layout import Layout
from l2o_env.pairs.pair import Pair


class InnerLoop(Protocol):
    """The training of N optimizees, window by window; see ``Population`` and ``Optimizees`` for what methods do.

    Attributes:
        pairs: The pairs that optimizees may be started on.
        layout: Where the layer groups of their network lie.
        starts: What the running episodes started from, ``N`` of them; None before the first.
        done: Updates made in the running episode, ``(N,)``.
    """

    pairs: tuple[Pair, ...]
    layout: Layout
    starts: list[Start | None]
    done: NDArray[np.int64]

    def start(self, starts: dict[int, Start]) -> None:
        """Starts new episodes of some optimizees."""

    def run(
        self,
        rates: NDArray[np.float64],
        n_updates: NDArray[np.int64],
        guidance_weights: NDArray[np.float64] | None = None,
    ) -> Window:
        """Makes a window of updates, then validates."""

    def window_time(self) -> WindowTime:
        """Time of all windows so far."""

    def evaluate(self, split: str) -> Evaluation:
        """Losses and accuracies of all optimizees on a split."""

    def predictions(self, split: str) -> list[Tensor]:
        """Predicted classes of all optimizees on a split."""

    def class_accuracy(self, split: str) -> Tensor:
        """Accuracy of each class, ``(N, n_classes)``."""

    def optimizee(self, i: int) -> Optimizee:
        """The i-th optimizee as a network of its own."""

    def get_state(self) -> dict[str, Any]:
        """Everything that the coming updates depend on."""

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes up a state."""

    def close(self) -> None:
        """Frees what the loop holds beside memory, such as processes."""
