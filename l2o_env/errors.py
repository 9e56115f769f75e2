"""Errors that are shared, and the check of whole numbers: what came, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from numbers import Integral


class ConfigError(ValueError):
    """A setting that cannot work; the message says what came, what was expected and what to do."""


class UnknownSettingError(ConfigError, TypeError):
    """A keyword that is no setting.

    It is a TypeError too, as for any function: callers such as TorchRL's ``GymEnv`` try keywords out, and look for one
    that says which was unexpected.
    """


def one_line(error: BaseException) -> str:
    """Kind of an exception and the first line of what it says, to be quoted by an error of ours."""
    return f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")


def require_integer(name: str, value: object, least: int = 1, *, expected: str = "") -> int:
    """Checks a setting that is a whole number.

    Args:
        name: What the error calls it.
        value: What came; Python's integers and NumPy's, but no bool, which would count as 0 or 1.
        least: Smallest value that can work.
        expected: What the error says was expected, if there is more to say than ``an integer >= least``.

    Returns:
        The value, as Python's integer.

    Raises:
        ConfigError: If it is no integer, or smaller than `least`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ConfigError(f"{name} is {value!r}; expected {expected or f'an integer >= {least}'}.")
    return int(value)


def require_integers(settings: object, *names: str, least: int = 1, expected: str = "") -> None:
    """Checks fields of a frozen dataclass that are whole numbers, and makes Python's integers of NumPy's.

    JSON, which settings are saved and compared as, knows only those.

    Args:
        settings: The dataclass, in its ``__post_init__``.
        *names: Names of the fields.
        least: Smallest value that can work.
        expected: As in :func:`require_integer`.

    Raises:
        ConfigError: If one is no integer, or smaller than `least`.
    """
    for name in names:
        object.__setattr__(settings, name, require_integer(name, getattr(settings, name), least, expected=expected))


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ConfigError:
    """The error for a name that is not known.

    Args:
        kind: What the name stands for, such as ``"reward"``.
        name: What came.
        known: The names that exist.

    Returns:
        An error that lists the known names and the closest one, to be raised by the caller.
    """
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ConfigError(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(map(repr, names))}.")
