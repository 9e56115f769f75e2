"""Properties that hold whatever comes: what is written is read, what is foreign is one short error, bounds hold."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agents.opponents import load
from agents.options import read_file
from agents.policy_folders import trained_on
from l2o_env.action import action_space, check_rates, decode
from l2o_env.config import ActionForm, EnvConfig
from l2o_env.errors import ConfigError, brief, shortened
from l2o_env.inner.statistics import LAYER_FIELDS
from l2o_env.observation import encode, observation_space
from l2o_env.pairs.from_files.visda17 import read_split
from l2o_env.pairs.images.label_maps import label_map
from l2o_env.pairs.images.listing import read_columns
from l2o_env.pairs.spec import parse, spec
from l2o_env.safe_json import parse_json
from tests.test_observation import _inputs, _measurements

QUICK = settings(
    max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
"""So few that they take a second, and the same ones each time; ``benchmarks.fuzz`` tries thousands."""
TEXT = st.text(st.characters(codec="utf-8"), max_size=50)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63) + 1, 2**63 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=6,
)
ANY_FILE = st.binary(max_size=300) | TEXT.map(str.encode) | JSON.map(lambda value: json.dumps(value).encode())


def _refused_or_read(read: Any, name: str, content: bytes) -> Any:
    """Reads a file of some content: what came of it, or None if it was refused in few words."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        try:
            return read(Path(folder))
        except ConfigError as error:
            assert len(str(error)) < 500
            return None


@QUICK
@given(JSON)
def test_json_is_read_as_it_was_written(value: Any) -> None:
    assert parse_json(json.dumps(value)) == parse_json(json.dumps(value, ensure_ascii=False)) == value


@QUICK
@given(st.text(max_size=200))
def test_any_text_is_json_or_a_value_error(text: str) -> None:
    try:
        found = parse_json(text)
    except ValueError as error:
        assert len(str(error)) < 300
    else:
        assert parse_json(json.dumps(found)) == found


@QUICK
@given(st.text(max_size=2000), st.integers(10, 300))
def test_what_errors_quote_is_short_and_one_line(text: str, most: int) -> None:
    assert len(shortened(text, most)) <= most and "\n" not in shortened(text, most)
    assert len(brief(text, most)) <= most and len(brief(text, most).splitlines()) <= 1


@QUICK
@given(ANY_FILE)
def test_files_of_settings_are_read_or_refused(content: bytes) -> None:
    _refused_or_read(load, "schedule.json", content)
    _refused_or_read(trained_on, "config.json", content)
    _refused_or_read(lambda folder: label_map(folder / "map.json"), "map.json", content)
    found = _refused_or_read(lambda folder: read_file(folder / "hp.yaml"), "hp.yaml", content)
    assert found is None or all(isinstance(name, str) for name in found)


@QUICK
@given(ANY_FILE)
def test_lists_are_read_or_refused(content: bytes) -> None:
    rows = _refused_or_read(lambda folder: read_columns(folder / "list.txt", (1, 2)), "list.txt", content)
    assert rows is None or all(len(row) in (1, 2) for row in rows)
    _refused_or_read(lambda folder: read_split(folder, "images"), "image_list.txt", content)


@QUICK
@given(JSON.map(lambda value: {"agent": "Schedule", "name": "s", "rate": value}))
def test_a_schedule_of_any_rate_is_read_or_refused(saved: dict[str, Any]) -> None:
    agent = _refused_or_read(load, "schedule.json", json.dumps(saved).encode())
    assert agent is None or 0 <= agent.rate <= 1e38


@QUICK
@given(st.text(max_size=100))
def test_any_text_is_a_pair_or_a_config_error(text: str) -> None:
    try:
        name, found = parse(text)
    except ConfigError as error:
        assert len(str(error)) < 500
    else:
        assert name == text.partition(":")[0] and all(key.isidentifier() for key in found)


@QUICK
@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True),
        st.integers(-(10**9), 10**9)
        | st.floats(-1e9, 1e9)
        | st.booleans()
        | st.from_regex(r"[A-Za-z/_. ]{0,3}[a-z]", fullmatch=True),
        max_size=4,
    )
)
def test_a_pair_is_read_as_it_was_written(values: dict[str, Any]) -> None:
    try:
        text = spec("pair", **values)
    except ConfigError:
        return
    assert parse(text) == ("pair", values)


@QUICK
@given(st.sampled_from([field.name for field in fields(EnvConfig)]), JSON)
def test_a_setting_of_any_value_works_or_is_refused(name: str, value: Any) -> None:
    try:
        config = EnvConfig(**{name: value})
    except ConfigError as error:
        assert len(str(error)) < 1000
    else:
        saved = parse_json(json.dumps(asdict(config)))
        assert EnvConfig.from_saved({**saved, "pairs": tuple(saved["pairs"])}) == config


@QUICK
@given(
    st.sampled_from([form for form in get_args(ActionForm) if form not in ("discrete", "log+guidance")]),
    arrays(np.float64, (2, 3), elements=st.floats(allow_nan=False)),
    arrays(np.float64, (2, 3), elements=st.floats(1e-5, 0.03)),
    arrays(np.float64, (2, 3), elements=st.floats(0, 1e3)),
)
def test_any_action_stands_for_rates_within_the_limits(
    form: ActionForm, actions: np.ndarray, current: np.ndarray, update_ratio: np.ndarray
) -> None:
    config = EnvConfig(action=form)
    with np.errstate(all="ignore"):
        rates = decode(actions, current, config, update_ratio)
    assert ((rates >= config.lr_min * (1 - 1e-9)) & (rates <= config.lr_max * (1 + 1e-9))).all()
    assert action_space(config, 3).contains(np.clip(actions[0], -1, 1).astype(np.float32))


@QUICK
@given(arrays(np.float64, (1, 3), elements=st.floats()))
def test_any_rates_are_taken_as_they_are_or_refused(rates: np.ndarray) -> None:
    try:
        found = check_rates(rates, (1, 3))
    except ConfigError as error:
        assert len(str(error)) < 500 and not ((rates >= 0) & (rates <= 1e38)).all()
    else:
        np.testing.assert_array_equal(found, rates)


@QUICK
@given(
    arrays(np.float64, (len(LAYER_FIELDS), 2), elements=st.floats(width=32)),
    arrays(np.float64, 8, elements=st.floats(width=32)),
)
def test_any_measurement_is_observed_within_the_bounds(layers: np.ndarray, losses: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        given_layers = dict(zip(LAYER_FIELDS, layers.tolist(), strict=True))
        found = encode(_inputs(given_layers, _measurements(*losses)))[0]
    assert np.isfinite(found).all() and observation_space(2).contains(found)
