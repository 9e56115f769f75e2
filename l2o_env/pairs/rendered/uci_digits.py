"""The UCI handwritten digits that ship with scikit-learn, divided by their writers."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from l2o_env.pairs.rendered.backgrounds import upsample

N_CLASSES = 10
PROXY_TEST_DIGITS = 150
"""Digits of the last writers of the first half, which the proxy is tested on."""


Digits = tuple[NDArray[np.float32], NDArray[np.int64]]


@cache
def uci_halves() -> tuple[Digits, Digits]:
    """Ink ``(n, 16, 16)`` in [0, 1] and labels ``(n,)`` of the first 898 and the last 899 UCI digits."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    ink, labels = upsample((raw.images / 16.0).astype(np.float32)), raw.target.astype(np.int64)
    middle = len(labels) // 2
    return (ink[:middle], labels[:middle]), (ink[middle:], labels[middle:])


def divide_by_writer(first: Digits) -> tuple[Digits, Digits]:
    """The proxy's digits to pretrain on, and those of the last writers to test it on."""
    ink, labels = first
    return (ink[:-PROXY_TEST_DIGITS], labels[:-PROXY_TEST_DIGITS]), (
        ink[-PROXY_TEST_DIGITS:],
        labels[-PROXY_TEST_DIGITS:],
    )
