"""JSON of files that may be anybody's: limits are checked before anything is made of it, and errors are short."""

from __future__ import annotations

import json
import math
import re
import stat
from pathlib import Path
from typing import Any

from l2o_env.errors import reading, shortened

MAX_BYTES = 4 * 2**20
"""Of a file of settings; those that runs write take some kilobytes."""
MAX_DEPTH = 64
MAX_DIGITS = 400
"""Of a number: the longest that Python writes for a float has 309 before the point."""
_LARGEST, _LARGEST_EXACT = 2**63 - 1, 2**128 - 1
# Without a closing quotation mark the rest is one text, so that no part of it is looked at twice.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]|[-+.0-9eE]{400,}', re.DOTALL)


def read_text(path: Path, most: int = MAX_BYTES) -> str:
    """Text of a file (UTF-8, with a mark at its beginning or without).

    Args:
        path: The file.
        most: Bytes that it may have.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no plain file (reading a pipe might never end), too large, or no text.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is no plain file")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most / 2**20:.3g} MiB")
    return content.decode("utf-8-sig")


def read_json(path: Path, mend: str, most: int = MAX_BYTES) -> Any:
    """What a JSON file holds.

    Args:
        path: The file.
        mend: What to do if it is damaged; the end of the message.
        most: Bytes that it may have.

    Raises:
        FileNotFoundError: If there is none.
        ConfigError: If it is damaged; see :func:`parse_json`.
    """
    with reading(path, mend):
        return parse_json(read_text(path, most))


def read_object(path: Path, mend: str, most: int = MAX_BYTES) -> dict[str, Any]:
    """What a JSON file holds that is to hold names and values; arguments and errors as of :func:`read_json`."""
    with reading(path, mend):
        return as_object(read_json(path, mend, most))


def as_object(value: Any) -> dict[str, Any]:
    """The value, which has to be names and values.

    Raises:
        ValueError: If it is something else.
    """
    if not isinstance(value, dict):
        raise ValueError(f"it holds no JSON object, but {shortened(value, 40)}")
    return value


def parse_json(text: str, *, exact: bool = False) -> Any:
    """What a JSON text stands for.

    Args:
        text: The text.
        exact: Whether it is a program's own state, in which numbers may be NaN, infinite or of 128 bits.

    Raises:
        ValueError: If it is no JSON, nests deeper than ``MAX_DEPTH``, names a key twice, or holds a number that no
            setting can have: not finite, beyond 64 bits, or of thousands of digits.
    """
    depth = 0
    for token in _TOKEN.finditer(text):
        first = token[0][0]
        depth += (first in "[{") - (first in "]}")
        if depth > MAX_DEPTH:
            raise ValueError(f"it nests deeper than {MAX_DEPTH}")
        if first not in '[{]}"':
            raise ValueError(f"it holds a number of more than {MAX_DIGITS} digits")
    largest = _LARGEST_EXACT if exact else _LARGEST

    def integer(digits: str) -> int:
        value = int(digits)
        if abs(value) > largest:
            raise ValueError(f"it holds the number {shortened(digits, 40)}")
        return value

    def number(digits: str) -> float:
        value = float(digits)
        if not exact and not math.isfinite(value):
            raise ValueError(f"it holds the number {shortened(digits, 40)}")
        return value

    value = json.loads(text, object_pairs_hook=_object, parse_int=integer, parse_float=number, parse_constant=number)
    if "\\u" in text:  # half a character, which no file and no terminal takes
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"it has {shortened(key, 40)} twice")
        found[key] = value
    return found
