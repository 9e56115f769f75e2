"""Which features the observations of an episode do not tell, in the training of policies that are to bear it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from l2o_env.observation import SOURCES, features_of

_OF_SOURCE = np.stack([features_of(source) for source in SOURCES])


class FeatureDropout:
    """Draws for each episode of N optimizees what its observations lack.

    Args:
        probability: With which an episode lacks each of ``SOURCES``; nothing is drawn if it is 0.
        n: Number of optimizees.
    """

    def __init__(self, probability: float, n: int) -> None:
        self._probability = probability
        self.lacking = np.zeros((n, len(SOURCES)), np.bool_)
        """Sources that the running episodes lack, ``(N, n_sources)``."""

    def start(self, rngs: Sequence[np.random.Generator], indices: Sequence[int], *, common: bool) -> None:
        """Draws for new episodes of some optimizees from their generators, or one for all if it is to be `common`."""
        if not self._probability:
            return
        first = self._draw(rngs[indices[0]])
        for i in indices:
            self.lacking[i] = first if common or i == indices[0] else self._draw(rngs[i])

    def _draw(self, rng: np.random.Generator) -> NDArray[np.bool_]:
        return rng.random(len(SOURCES)) < self._probability

    def masked(self) -> NDArray[np.bool_] | None:
        """Features that are masked, ``(N, 1, n_features)``; None if none are."""
        return np.any(self.lacking[:, :, None] & _OF_SOURCE, axis=1, keepdims=True) if self.lacking.any() else None
