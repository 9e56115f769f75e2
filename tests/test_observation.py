"""Observations: every feature by hand, bounds, and the way back into layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import l2o_env
from l2o_env.errors import ConfigError
from l2o_env.inner.statistics import HEAD_FIELDS, LAYER_FIELDS
from l2o_env.inner.window import Measurements, Window
from l2o_env.models.layout import Layout
from l2o_env.observation import (
    FEATURE_NAMES,
    FEATURES,
    N_FEATURES,
    Inputs,
    encode,
    feature_table,
    features_of,
    observation_space,
    split_layers,
)
from tests.tiny import TwoLayers


def _measurements(*values: float) -> Measurements:
    return Measurements(*(np.full(1, value) for value in values))


def _inputs(layers: dict[str, list[float]] | None = None, after: Measurements | None = None) -> Inputs:
    given: dict[str, Any] = {
        "task_rms": [0.1, 10.0],
        "guidance_rms": [0.001, 1.0],
        "cosine": [-0.5, 0.25],
        "update_ratio": [0.01, 0.1],
        "drift": [1.0, 0.001],
        "alignment": [0.75, -1.0],
        **(layers or {}),
    }
    window = Window(
        layers={name: np.array([given[name]], float) for name in LAYER_FIELDS},
        head={"head_mean": np.array([0.5]), "head_std": np.array([2.0])},
        measurements=after or _measurements(1.5, 0.25, 1.25, 0.5, 0.9, np.nan, np.nan, np.nan),
        diverged=np.array([False]),
    )
    return Inputs(
        window=window,
        previous=_measurements(2.0, 0.5, 1.0, 1.5, 0.8, np.nan, np.nan, np.nan),
        rates=np.array([[0.01, 0.1]]),
        progress=np.array([0.4]),
        layout=Layout.of(TwoLayers()),
    )


def test_every_feature_by_hand() -> None:
    features = split_layers(encode(_inputs()))[0]
    expected: dict[str, list[float]] = {
        "task_rms": [-1, 1],
        "guidance_rms": [-3, 0],
        "cosine": [-0.5, 0.25],
        "update_ratio": [-2, -1],
        "drift": [0, -3],
        "alignment": [0.75, -1],
        "lr": [-2, -1],
        "depth": [0, 1],
        "n_weights": [np.log10(2), np.log10(2)],
        "train_ce": [1.5, 1.5],
        "train_kl": [0.25, 0.25],
        "val_ce": [1.25, 1.25],
        "val_kl": [0.5, 0.5],
        "train_ce_change": [-0.5, -0.5],
        "train_kl_change": [-0.25, -0.25],
        "val_ce_change": [0.25, 0.25],
        "val_kl_change": [-1.0, -1.0],
        "progress": [0.4, 0.4],
        "head_mean": [0.5, 0.5],
        "head_std": [2.0, 2.0],
    }
    assert tuple(expected) == FEATURE_NAMES
    for k, name in enumerate(FEATURE_NAMES):
        np.testing.assert_allclose(features[:, k], expected[name], rtol=1e-6, atol=1e-6, err_msg=name)


def test_nothing_at_all_is_at_the_lower_bound() -> None:
    zeros = {name: [0.0, 0.0] for name in LAYER_FIELDS}
    features = split_layers(encode(_inputs(zeros)))[0]
    for name, floor in (("task_rms", -6), ("guidance_rms", -6), ("update_ratio", -5), ("drift", -4), ("cosine", 0)):
        np.testing.assert_array_equal(features[:, FEATURE_NAMES.index(name)], floor, err_msg=name)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_whatever_comes_the_observation_is_finite_and_within_its_bounds(value: float) -> None:
    layers = {name: [value, value] for name in LAYER_FIELDS}
    with np.errstate(invalid="ignore"):
        inputs = _inputs(layers, _measurements(*[value] * 8))
        found = encode(inputs)[0]
    assert np.isfinite(found).all()
    assert observation_space(2).contains(found)


def test_the_space_declares_the_bounds_of_each_feature_on_each_layer() -> None:
    space = observation_space(3)
    assert space.shape == (3 * N_FEATURES,)
    assert space.dtype == np.float32
    for layer in range(3):
        for k, feature in enumerate(FEATURES):
            assert space.low[layer * N_FEATURES + k] == feature.low
            assert space.high[layer * N_FEATURES + k] == feature.high


def test_split_layers_is_a_view_of_any_batch() -> None:
    batch = np.arange(2 * 5 * 3 * N_FEATURES, dtype=np.float32).reshape(2, 5, 3 * N_FEATURES)
    layers = split_layers(batch)
    assert layers.shape == (2, 5, 3, N_FEATURES)
    assert layers[1, 2, 1, 0] == batch[1, 2, N_FEATURES]
    layers[0, 0, 0, 0] = -1
    assert batch[0, 0, 0] == -1
    assert l2o_env.split_layers is split_layers
    assert l2o_env.FEATURE_NAMES is FEATURE_NAMES


def test_every_layer_and_head_statistic_is_observed() -> None:
    assert set(LAYER_FIELDS) | set(HEAD_FIELDS) <= set(FEATURE_NAMES)


def test_the_table_names_every_feature_with_its_bounds() -> None:
    rows = feature_table().splitlines()[2:]
    assert len(rows) == N_FEATURES
    for k, (row, feature) in enumerate(zip(rows, FEATURES, strict=True)):
        assert row.startswith(f"| {k} | `{feature.name}` |")
        assert row.endswith(f"| [{feature.low:g}, {feature.high:g}] |")


def test_other_observations_cannot_be_split() -> None:
    with pytest.raises(
        ConfigError, match=r"12 numbers, which is no multiple of the \d+ features.*observation='layers'"
    ):
        split_layers(np.zeros((2, 12), np.float32))


def test_a_masked_feature_looks_like_a_quantity_of_0() -> None:
    names = [FEATURE_NAMES[k] for k in np.flatnonzero(features_of("loss", "proxy"))]
    assert names == [
        "guidance_rms", "cosine", "train_ce", "train_kl", "val_kl", "train_ce_change", "train_kl_change",
        "val_kl_change",
    ]  # fmt: skip
    masked = features_of("proxy", "validation")
    told, hidden = (split_layers(encode(replace(_inputs(), masked=mask)))[0] for mask in (None, masked[None, None]))
    np.testing.assert_array_equal(hidden[:, ~masked], told[:, ~masked])
    of_zero = [-6.0 if name == "guidance_rms" else 0.0 for name in np.array(FEATURE_NAMES)[masked]]
    np.testing.assert_array_equal(hidden[:, masked], [of_zero] * 2)
    assert not features_of().any()
