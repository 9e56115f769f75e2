"""Recordings whose numbers are known."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd

LAYERS = ("stem", "layer1", "head")


def recorded(policies: tuple[str, ...] = ("careful", "flat")) -> pd.DataFrame:
    """Policies that answer to the guidance gradient of the step before with less rate, or not at all."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for policy, pair, seed, (i, layer) in itertools.product(policies, ("a", "b"), range(4), enumerate(LAYERS)):
        seen = 1.0
        for step in range(1, 6):
            lr = 10.0 ** (i - 4) / (seen if policy == "careful" else 1.0)
            seen = float(rng.uniform(1, 4)) if layer != "head" else 0.0
            rows.append(
                {
                    "policy": policy, "pair": pair, "seed": seed, "sampled": False, "step": step, "updates": 10 * step,
                    "layer": layer, "lr": lr if layer != "stem" or policy == "careful" else 0.0,
                    "guidance_rms": seen, "entropy": -0.1 * step + i,
                }
            )  # fmt: skip
            seen = seen or 1.0
    return pd.DataFrame(rows)
