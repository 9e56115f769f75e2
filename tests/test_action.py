"""Actions: what they decode to, by hand, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from l2o_env.action import (
    ACTION_SETTINGS,
    BASE_UPDATE_RATIO,
    action_settings,
    action_space,
    check_action_settings,
    check_rates,
    decide,
    decode,
    encode,
)
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError

LOG = EnvConfig(optimizer="sgd", lr_min=1e-4, lr_max=1e-2)
RELATIVE = EnvConfig(optimizer="sgd", action="relative", lr_min=1e-4, lr_max=1e-2, relative_scale=4.0)
MOVING = EnvConfig(action="relative_update", update_ratio_min=1e-4, update_ratio_max=1e-2)
DISCRETE = EnvConfig(optimizer="sgd", action="discrete", base_lr=0.05)
CURRENT = np.array([2e-3, 1e-3, 5e-3])


GUIDED = replace(LOG, action="log+guidance", guidance_weight_min=0.1, guidance_weight_max=10.0)


def test_spaces() -> None:
    assert action_space(LOG, 3) == spaces.Box(-1, 1, (3,), np.float32)
    assert action_space(RELATIVE, 3) == spaces.Box(-1, 1, (3,), np.float32)
    assert action_space(DISCRETE, 3) == spaces.MultiDiscrete([11, 11, 11])


def test_log_is_log_uniform_between_the_limits() -> None:
    np.testing.assert_allclose(decode(np.array([-1.0, 0.0, 1.0]), CURRENT, LOG), [1e-4, 1e-3, 1e-2], rtol=1e-12)


def test_values_outside_the_box_are_clipped() -> None:
    wild = np.array([-7.0, 1e30, np.inf])
    np.testing.assert_allclose(decode(wild, CURRENT, LOG), [1e-4, 1e-2, 1e-2], rtol=1e-12)


def test_relative_multiplies_the_current_rate_within_the_limits() -> None:
    np.testing.assert_allclose(decode(np.array([0.5, -0.5, 1.0]), CURRENT, RELATIVE), [4e-3, 5e-4, 1e-2], rtol=1e-12)
    np.testing.assert_allclose(decode(np.zeros(3), CURRENT, RELATIVE), CURRENT)


def test_a_relative_update_follows_from_what_the_last_window_moved() -> None:
    # The middle of 1e-4 to 1e-2 is 1e-3. The first layer moved ten times as far, the second half, the third not at all.
    actions, moved = np.array([0.0, 0.0, 1.0]), np.array([1e-2, 5e-4, 0.0])
    expected = [2e-4, 2e-3, 1e-3 / BASE_UPDATE_RATIO * 1e-2]
    np.testing.assert_allclose(decode(actions, CURRENT, MOVING, moved), expected, rtol=1e-12)
    np.testing.assert_allclose(decode(actions, CURRENT, MOVING)[2], expected[2], rtol=1e-12)
    broken = np.array([np.nan, np.inf, 1e-9])
    np.testing.assert_allclose(decode(actions, CURRENT, MOVING, broken), [expected[2] / 10, expected[2] / 10, 3e-2])
    np.testing.assert_allclose(decide(actions, CURRENT, MOVING, moved).rates, expected, rtol=1e-12)


def test_discrete_takes_tenths_of_the_base_rate() -> None:
    np.testing.assert_allclose(decode(np.array([0, 3, 10]), CURRENT, DISCRETE), [0.0, 0.015, 0.05], rtol=1e-12)


def test_populations_decode_row_by_row() -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 3)).astype(np.float32)
    current = np.tile(CURRENT, (4, 1))
    for config in (LOG, RELATIVE):
        rows = [decode(a, CURRENT, config) for a in actions]
        np.testing.assert_array_equal(decode(actions, current, config), rows)


def test_neither_action_nor_rates_are_changed() -> None:
    action, current = np.full(3, 5.0), CURRENT.copy()
    for config in (LOG, RELATIVE):
        decode(action, current, config)
    np.testing.assert_array_equal(action, 5.0)
    np.testing.assert_array_equal(current, CURRENT)


def test_encode_is_the_inverse_of_the_log_form() -> None:
    rates = np.array([[1e-4, 3e-4, 1e-2], [1e-3, 2e-3, 4e-3]])
    np.testing.assert_allclose(decode(encode(rates, LOG), rates, LOG), rates, rtol=1e-6)
    np.testing.assert_array_equal(encode(np.array([0.0, 1.0]), LOG), [-1, 1])  # the nearest that there is


BAD: list[tuple[EnvConfig, Any, list[str]]] = [
    (LOG, [0.0, np.nan, 0.0], ["nan", "without NaN", "policy's own weights"]),
    (RELATIVE, [np.nan] * 3, ["nan", "without NaN"]),
    (LOG, [0.0, 0.0], ["shape (2,)", "expected (3,)", "action_space"]),
    (LOG, [[0.0, 0.0, 0.0]], ["shape (1, 3)", "expected (3,)"]),
    (LOG, 0.5, ["shape ()", "expected (3,)"]),
    (LOG, None, ["shape ()", "expected (3,)"]),
    (LOG, [[1.0], [1.0, 2.0]], ["ragged", "shape (3,)"]),
    (LOG, ["a", "b", "c"], ["'a'", "expected numbers"]),
    (LOG, [True, False, True], ["True", "expected numbers"]),
    (DISCRETE, [0, 11, 0], ["11", "integers from 0 to 10"]),
    (DISCRETE, [0, -1, 0], ["-1", "integers from 0 to 10"]),
    (DISCRETE, [0.5, 1.0, 2.0], ["0.5", "integers from 0 to 10"]),
    (DISCRETE, [np.nan] * 3, ["nan", "without NaN"]),
]


@pytest.mark.parametrize(("config", "action", "parts"), BAD, ids=[f"{c.action}-{a}" for c, a, _ in BAD])
def test_a_bad_action_says_what_came_and_what_was_expected(config: EnvConfig, action: Any, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(action, CURRENT, config)
    for part in parts:
        assert part in str(caught.value)


def test_a_wrong_shape_of_a_population_says_that_every_optimizee_needs_an_action() -> None:
    with pytest.raises(ConfigError, match=r"shape \(3,\); expected \(2, 3\), one value per layer group, for each opt"):
        decode(np.zeros(3), np.ones((2, 3)), LOG)


def test_physical_rates_are_checked() -> None:
    np.testing.assert_array_equal(check_rates(np.array([0, 1, 2]), (3,)), [0.0, 1.0, 2.0])
    for rates, part in ((np.ones(2), "expected (3,)"), (np.array([1, -1, 1]), ">= 0"), (np.full(3, np.inf), "finite")):
        with pytest.raises(ConfigError) as caught:
            check_rates(rates, (3,))
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LOG, {"action": "log", "lr_min": 1e-4, "lr_max": 1e-2}),
        (RELATIVE, {"action": "relative", "lr_min": 1e-4, "lr_max": 1e-2, "base_lr": 0.02, "relative_scale": 4.0}),
        (MOVING, {"action": "relative_update", "update_ratio_min": 1e-4, "update_ratio_max": 1e-2}),
        (DISCRETE, {"action": "discrete", "base_lr": 0.05}),
        (
            GUIDED,
            {
                "action": "log+guidance",
                "lr_min": 1e-4,
                "lr_max": 1e-2,
                "guidance_weight_min": 0.1,
                "guidance_weight_max": 10.0,
            },
        ),
    ],
)
def test_settings_that_actions_are_decoded_by(config: EnvConfig, expected: dict[str, Any]) -> None:
    if config is not MOVING:  # rates mean something to the optimizer
        expected = {**expected, "optimizer": "sgd", "beta2": None, "weight_decay": 5e-4}
    assert action_settings(config) == expected
    assert set(expected) <= set(ACTION_SETTINGS)
    # They are what gives actions their meaning: with the other settings of actions changed, it stays the same.
    others = {"lr_min": 2e-4, "lr_max": 2e-2, "base_lr": 0.03, "relative_scale": 3.0}
    others |= {
        "update_ratio_min": 2e-4,
        "update_ratio_max": 0.2,
        "guidance_weight_min": 0.2,
        "guidance_weight_max": 5.0,
    }
    others |= {"optimizer": "rate_in_momentum", "beta2": 0.99, "weight_decay": 0.0}
    changed = replace(config, **{key: value for key, value in others.items() if key not in expected})
    actions = np.array([1, 3, 10, 0][: 3 + (config is GUIDED)])
    moved = np.array([2e-3, 2e-3, 4e-3])  # so that rates stay within either limits
    for mine, theirs in zip(*(decide(actions, CURRENT, each, moved) for each in (config, changed)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    check_action_settings(expected, changed)
    for key in expected:
        if key != "action":
            with pytest.raises(ConfigError, match=rf"was trained with .* has .*'{key}': .*make the environment with"):
                check_action_settings(expected, replace(config, **{key: others[key]}))


def test_actions_of_another_form_mean_something_else() -> None:
    with pytest.raises(
        ConfigError, match=r"trained with {'action': 'log', .* has {'action': 'discrete', 'optimizer': "
    ):
        check_action_settings(action_settings(LOG), DISCRETE)
