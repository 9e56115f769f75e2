"""Operations on vectors of floats, as compiled functions use them."""

from __future__ import annotations

import numba
import numpy as np

from l2o_env.models.kernels.simd import NARROW, WIDE, fill, fma, load, load_narrow, masked, relu, spread, store, total

NAN = np.float32(np.nan)


@numba.njit
def _elementwise(a, b, of_relu, of_mask, of_fma):
    store(of_relu, 0, relu(load(a, 0)))
    store(of_mask, 0, masked(load(a, 0), load(b, 0)))
    store(of_fma, 0, fma(load(a, 0), spread(b, 1), fill(0.5)))


@numba.njit
def _totals(a):
    return total(load(a, 0)), total(load_narrow(a, 3))


def test_what_is_not_a_number_passes_as_in_pytorch() -> None:
    a = np.array([-1.0, 0.0, 2.0, NAN] * (WIDE // 4), np.float32)
    b = np.array([3.0, 4.0, NAN, 6.0] * (WIDE // 4), np.float32)
    of_relu, of_mask, of_fma = (np.empty(WIDE, np.float32) for _ in range(3))
    _elementwise(a, b, of_relu, of_mask, of_fma)
    np.testing.assert_array_equal(of_relu[:4], [0, 0, 2, NAN])
    np.testing.assert_array_equal(of_mask[:4], [0, 0, NAN, 6])
    np.testing.assert_array_equal(of_fma[:4], [-3.5, 0.5, 8.5, NAN])


def test_totals_are_sums_of_their_width() -> None:
    a = np.arange(WIDE, dtype=np.float32)
    assert _totals(a) == (a.sum(), a[3 : 3 + NARROW].sum())
