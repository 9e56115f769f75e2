"""Window lengths."""

from __future__ import annotations

import numpy as np

from l2o_env.schedule import fixed_windows


def test_windows_use_up_the_budget_exactly() -> None:
    done = np.array([0, 6, 9, 10])
    np.testing.assert_array_equal(fixed_windows(done, 3, 10), [3, 3, 1, 0])
