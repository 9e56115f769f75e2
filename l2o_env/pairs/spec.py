"""Pairs with settings as one text: ``folders:source=renders,target=photos,size=64``.

Such a text stands wherever the name of a pair does: in ``pairs.make``, ``gym.make(..., pairs=...)``, on the command
line, and in every table that a run writes.
"""

from __future__ import annotations

import ast
import shlex
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any, TypeVar

from l2o_env.errors import ConfigError, brief, one_line, shortened, unknown_name

Settings = TypeVar("Settings")

LABEL = "label"
"""A setting that every pair has: what tables and pictures call it."""
MAX_TEXT = 10_000
"""Characters of a pair's text."""
_MAX_DEPTH = 10
_WORDS = {"true": True, "false": False, "none": None}


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Takes the text apart.

    Values are numbers, ``true``, ``false``, ``none``, tuples such as ``(0.75,1,1.25)``, or else texts. One that holds a
    comma is put in quotes: ``source="a, b"``.

    Args:
        text: ``name`` or ``name:key=value,key=value``.

    Returns:
        The name and the settings.

    Raises:
        ConfigError: If it has another form, or names a setting twice.
    """
    if len(text) > MAX_TEXT:
        raise ConfigError(f"The pair {shortened(text)} has {len(text)} characters; expected at most {MAX_TEXT}.")
    name, separator, rest = text.partition(":")
    if not separator:
        return name, {}
    settings: dict[str, Any] = {}
    for item in _items(text, rest):
        key, equals, value = item.partition("=")
        key = key.strip()
        if not equals or not key.isidentifier():
            raise ConfigError(
                f"{shortened(item)} in the pair {shortened(text)} is no setting; expected {name[:40]}:key=value,"
                "key=value."
            )
        if key in settings:
            raise ConfigError(f"The pair {shortened(text)} names the setting {shortened(key)} twice; name it once.")
        settings[key] = _value(value.strip())
    return name, settings


class _Int(int):
    """A whole number that was written in another way than Python writes it, such as 2024_05_17."""

    text: str


class _Float(float):
    """The same of a number with a fraction or an exponent, such as 1e3."""

    text: str


def as_text(value: Any) -> str:
    """A value as it was written."""
    return str(getattr(value, "text", value))


def label(text: str) -> str:
    """What tables and pictures call a pair: its setting ``label`` if it has one, else its name without settings."""
    name, settings = parse(text)
    return as_text(settings.get(LABEL, name))


def runs_code(text: str) -> bool:
    """Whether to build a pair may run code that its text names: ``backbone=FILE.py:NAME`` or ``backbone=module:NAME``.

    What stands in a file that may be anybody's is built only if it runs none. Every value with a colon counts: pairs
    that users register may take such names elsewhere, too, and a drive of Windows is told from a module by nothing.

    Args:
        text: The pair.

    Raises:
        ConfigError: If it is no text of a pair.
    """
    return any(":" in str(value) for value in parse(text)[1].values())


def spec(name: str, /, **settings: Any) -> str:
    """The text that :func:`parse` takes apart again.

    Args:
        name: A registered name.
        **settings: Numbers, booleans, None, tuples of numbers, paths, texts.

    Raises:
        ConfigError: If a value cannot be written that way.
    """
    written = ",".join(f"{key}={_written(key, value)}" for key, value in settings.items())
    return f"{name}:{written}" if written else name


def from_keywords(
    form: type[Settings], pair: str, keywords: Mapping[str, Any], fixed: Mapping[str, Any] = MappingProxyType({})
) -> Settings:
    """Settings of a pair from keywords.

    Args:
        form: Their dataclass.
        pair: Name of the pair, for messages.
        keywords: By name of a field.
        fixed: Fields that are no settings of this pair, and their values.

    Raises:
        ConfigError: If a name is unknown (it names the closest), or a value cannot work.
    """
    known = [f.name for f in fields(form) if f.init and f.name not in fixed]  # type: ignore[arg-type]
    for key in keywords:
        if key not in known:
            raise unknown_name(f"setting of the pair {pair!r}:", key, known)
    texts = {f.name for f in fields(form) if _is_text(str(f.type))}  # type: ignore[arg-type]
    values = {key: _fitting(value, key in texts) for key, value in keywords.items()}
    try:
        return form(**values, **fixed)
    except ConfigError:
        raise
    except (TypeError, ValueError, OverflowError) as error:  # such as text in the place of a number
        raise ConfigError(f"A setting of the pair {pair!r} cannot work: {brief(one_line(error), 200)}.") from error


def _is_text(annotation: str) -> bool:
    """Whether a field holds texts and no numbers."""
    return ("str" in annotation or "Path" in annotation) and not any(k in annotation for k in ("int", "float", "Any"))


def _fitting(value: Any, text: bool) -> Any:
    """A number as the text that was written, for a field of texts; else as Python's own number."""
    if isinstance(value, int | float) and not isinstance(value, bool) and text:
        return as_text(value)
    return int(value) if isinstance(value, _Int) else float(value) if isinstance(value, _Float) else value


def _items(text: str, rest: str) -> list[str]:
    lexer = shlex.shlex(_hide_commas(rest), posix=True)
    # Commas are what separates, and nothing is a comment or escapes: paths may hold hash signs and backslashes.
    lexer.whitespace, lexer.whitespace_split, lexer.commenters, lexer.escape = ",", True, "", ""
    try:
        return [item.replace("\0", ",") for item in lexer]
    except ValueError as error:
        raise ConfigError(f"The pair {shortened(text)} has a quotation mark without its other; close it.") from error


def _hide_commas(rest: str) -> str:
    """Hides the commas inside parentheses, those of tuples, from the lexer."""
    depth, characters = 0, []
    for character in rest:
        depth += {"(": 1, ")": -1}.get(character, 0)
        characters.append("\0" if character == "," and depth > 0 else character)
    return "".join(characters)


def _value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if text.count("(") > _MAX_DEPTH or "\\" in text:  # no number and no tuple of numbers
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value if isinstance(value, tuple) else text
    if str(value) == text:
        return value
    written = _Int(value) if isinstance(value, int) else _Float(value)
    written.text = text
    return written


def _written(key: str, value: Any) -> str:
    """The text of a value, from which the same value is read again; else raises ``ConfigError``."""
    text = str(value)
    if (isinstance(value, str) or hasattr(value, "__fspath__")) and any(c in text for c in ",()'") and '"' not in text:
        text = f'"{text}"'
    found = parse(f"_:{key}={text}")[1].get(key)
    is_text = isinstance(value, str) or hasattr(value, "__fspath__")
    if (as_text(found) != str(value) or found is None or isinstance(found, bool)) if is_text else found != value:
        raise ConfigError(f"{key}={value!r} cannot be written as a text; give it to pairs.make or pairs.register.")
    return text
