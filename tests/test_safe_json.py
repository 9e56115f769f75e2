"""JSON of files that may be anybody's: what is read, and what is refused, in few words."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import pytest

from l2o_env.errors import ConfigError
from l2o_env.safe_json import MAX_DEPTH, as_object, parse_json, read_json, read_object, read_text


@pytest.mark.parametrize(
    "value", [None, True, -3, 2.5e-300, 2**63 - 1, '[[[\\"é\n', [[1], {"a": {"b": []}}], "1" * 1000, "\U0001f600"]
)
def test_what_json_writes_is_read(value: object) -> None:
    for ascii_only in (True, False):
        assert parse_json(json.dumps(value, ensure_ascii=ascii_only)) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Expecting value"),
        ("[" * 10**6, "nests deeper"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nests deeper"),
        ('{"a": 1, "b": 2, "a": 1}', "has 'a' twice"),
        ("9" * 5000, "more than 400 digits"),
        (f"1{'0' * 350}", "holds the number '1000"),
        (str(2**63), "holds the number '9223372036854775808'"),
        ("1e999", "holds the number '1e999'"),
        ("NaN", "holds the number 'NaN'"),
        ("[-Infinity]", "holds the number '-Infinity'"),
        ('"\\ud800"', "surrogates not allowed"),
    ],
)
def test_what_no_setting_can_be_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as error:
        parse_json(text)
    assert len(str(error.value)) < 200


def test_a_state_may_hold_what_a_setting_may_not() -> None:
    nan, infinite, wide = parse_json("[NaN, -Infinity, 340282366920938463463374607431768211455]", exact=True)
    assert math.isnan(nan) and infinite == -math.inf and wide == 2**128 - 1
    with pytest.raises(ValueError, match="holds the number"):
        parse_json(str(2**128), exact=True)


def test_texts_without_an_end_take_no_time() -> None:
    started = time.process_time()
    with pytest.raises(ValueError, match="Unterminated"):
        parse_json('"' + '\\"' * 10**6)
    assert time.process_time() - started < 2


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + '{"é": 1}'.encode())  # with a mark, as some editors write it
    assert read_json(path, "mend it.") == read_object(path, "mend it.") == {"é": 1}
    for content, told in (
        (b"[1]", r"holds no JSON object, but \[1\]"),
        (b"\xff\xfe\x00", "can't decode"),
        (b"{" * 10**6, "nests deeper"),
        (b'{"%s": 1, "%s": 2}' % (b"x" * 10**6, b"x" * 10**6), "has 'xxx"),
    ):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=told) as error:
            read_object(path, "mend it.")
        assert str(error.value).startswith(f"{path} is damaged (") and str(error.value).endswith("mend it.")
        assert len(str(error.value)) < 500
    with pytest.raises(ConfigError, match=r"has more than 9\.54e-07 MiB"):
        read_json(path, "mend it.", most=1)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "b.json", "mend it.")
    with pytest.raises(ConfigError, match="no plain file"):
        read_json(tmp_path, "mend it.")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no plain file"):
        read_text(tmp_path / "pipe")


def test_objects() -> None:
    assert as_object({"a": 1}) == {"a": 1}
    with pytest.raises(ValueError, match=r"but '\w+…$"):
        as_object("x" * 10**6)
