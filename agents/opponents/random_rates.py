"""Random rates: what no thought at all achieves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2o_env.config import MAX_RATE
from l2o_env.errors import ConfigError, require_integer
from l2o_env.observation import split_layers

from .rate_setter import RateSetter


class RandomRates(RateSetter):
    """Log-uniform rates, drawn anew at each step for each layer.

    There is no most likely rate, so deterministic actions are drawn too: from a generator of its own, which goes on
    from call to call.

    Args:
        name: As tables and pictures call it.
        lr_min: Smallest rate.
        lr_max: Largest rate.
        seed: Seed of the generator.

    Raises:
        ConfigError: If the limits cannot work.
    """

    def __init__(self, name: str = "random", lr_min: float = 1e-4, lr_max: float = 0.3, seed: int = 0) -> None:
        if not 0 < lr_min < lr_max <= MAX_RATE:
            raise ConfigError(f"lr_min is {lr_min} and lr_max {lr_max}; expected 0 < lr_min < lr_max <= {MAX_RATE:g}.")
        require_integer("seed", seed, 0)
        self.name, self.lr_min, self.lr_max, self.seed = name, lr_min, lr_max, seed
        self._rng = np.random.default_rng(seed)

    def act(
        self, observations: NDArray[np.float32], state: None = None, deterministic: bool = True
    ) -> tuple[NDArray[np.float64], None]:
        """Rates ``(N, n_layers)`` of the coming window, and no state."""
        shape = split_layers(observations).shape[:2]
        return np.exp(self._rng.uniform(np.log(self.lr_min), np.log(self.lr_max), shape)), None

    def settings(self) -> dict[str, Any]:
        """The arguments; a generator made of them begins anew."""
        return {key: getattr(self, key) for key in ("name", "lr_min", "lr_max", "seed")}
