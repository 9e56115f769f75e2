"""Window lengths."""

from __future__ import annotations

import numpy as np
import pytest

from l2o_env.windows import asg_windows, decision_points, fixed_windows


def test_windows_use_up_the_budget_exactly() -> None:
    done = np.array([0, 6, 9, 10])
    np.testing.assert_array_equal(fixed_windows(done, 3, 10), [3, 3, 1, 0])


def test_asgs_windows_by_hand() -> None:
    done, epoch = np.array([0, 10, 20, 90, 100, 395, 20, 35]), np.array([100, 100, 100, 100, 100, 400, 100, 100])
    # max(10, current + earlier // 20), to the end of the epoch or of the budget
    expected = [10, 10, 20, 10, 10, 5, 20, 35]
    np.testing.assert_array_equal(asg_windows(done, 10, 10_000, epoch), expected)
    later = np.array([2000, 2050, 2140])
    np.testing.assert_array_equal(asg_windows(later, 10, 10_000, np.array([1000] * 3)), [100, 150, 240])
    np.testing.assert_array_equal(asg_windows(later, 10, 10_000, np.array([1000] * 3), intended=True), [100, 102, 107])
    assert asg_windows(np.array([2050]), 10, 2100, np.array([1000]))[0] == 50


@pytest.mark.parametrize(
    ("windows", "shortest", "epoch", "epochs", "decisions"),
    [
        ("asg", 10, 152_397 // 32, 30, 66),  # VisDA-17
        ("asg", 20, 2000, 50, 84),  # GTA5
        ("asg_intended", 10, 152_397 // 32, 30, 167),
        ("asg_intended", 20, 2000, 50, 155),
        ("fixed", 1000, 2000, 50, 100),
    ],
)
def test_decisions_of_the_published_runs(windows: str, shortest: int, epoch: int, epochs: int, decisions: int) -> None:
    points = decision_points(windows, shortest, epoch * epochs, epoch)  # type: ignore[arg-type]
    assert len(points) == decisions
    assert sorted(set(points)) == points
    assert points[0] == (0 if windows == "fixed" else shortest)
    assert points[-1] < epoch * epochs
    if windows == "asg":  # in the first epoch they double, in the last ones there is one window each
        assert points[:4] == [shortest, 2 * shortest, 4 * shortest, 8 * shortest]
        assert points[-5:] == [epoch * (epochs - k) for k in range(5, 0, -1)]
