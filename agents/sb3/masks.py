"""Which factors of the `discrete` form may follow the current ones, for MaskablePPO."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from l2o_env.action import N_FACTORS
from l2o_env.observation import FEATURE_NAMES, split_layers


def factor_masks(rates: NDArray[np.float64], base_lr: float, max_jump: int) -> NDArray[np.bool_]:
    """Factors of the `discrete` form within `max_jump` tenths of the current ones.

    Args:
        rates: Current learning rates ``(N, n_layers)``.
        base_lr: Rate of factor 1.
        max_jump: Tenths by which a factor may move.

    Returns:
        ``(N, n_layers * 11)``, layer after layer; at least one factor of each layer is allowed.
    """
    tenths = np.clip(np.rint(rates / base_lr * (N_FACTORS - 1)), 0, N_FACTORS - 1)
    allowed = np.abs(np.arange(N_FACTORS) - tenths[..., None]) <= max_jump
    return allowed.reshape(len(rates), -1)


def observed_rates(observations: NDArray[np.float32]) -> NDArray[np.float64]:
    """Learning rates ``(N, n_layers)`` that observations ``(N, n_layers * n_features)`` tell; 1e-6 stands for 0."""
    return 10.0 ** split_layers(observations)[..., FEATURE_NAMES.index("lr")].astype(np.float64)
