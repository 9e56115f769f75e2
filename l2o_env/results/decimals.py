"""Numbers of tables, pictures and progress, as text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def decimal(value: float | NDArray[np.float64], digits: int, sign: str = "") -> str:
    """A number with a fixed number of digits after the point, and no sign where these are all zero.

    Args:
        value: One number; NaN and infinities are named.
        digits: Digits after the point.
        sign: ``"+"`` to write the sign of positive numbers, and of zero, too.
    """
    # The format option `z` does this from Python 3.11 on.
    return f"{round(float(value), digits) + 0.0:{sign}.{digits}f}"


def counted(n: int, noun: str) -> str:
    """A number of things: ``"1 pair"``, ``"2,000 pairs"``."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")
