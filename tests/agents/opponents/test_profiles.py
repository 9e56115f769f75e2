"""Factors over the layers, against numbers computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from agents.opponents import PROFILES, Schedule
from agents.opponents.profiles import ProfileName
from tests.agents.opponents.observed import rates


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("uniform", [1, 1, 1]),
        ("tenth_backbone", [0.1, 0.1, 1]),
        ("small_backbone", [0.03, 0.03, 1]),
        ("discriminative", [1 / 2.6**2, 1 / 2.6, 1]),
        ("head_only", [0, 0, 1]),
    ],
)
def test_profiles_over_layers(profile: ProfileName, expected: list[float]) -> None:
    np.testing.assert_allclose(PROFILES[profile](3), expected)
    agent = Schedule("s", 0.2, profile, "constant")
    np.testing.assert_allclose(rates(agent, [0.0, 0.7]), 0.2 * np.array([expected, expected]))
