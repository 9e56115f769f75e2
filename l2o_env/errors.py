"""Errors that are shared, and the check of whole numbers: what came, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path

MOST = 400
"""Characters of a message about a file, but for its path: whatever the file holds, nobody reads more."""


_NEAR = 8
"""Names that are shown of a long list."""


class ConfigError(ValueError):
    """A setting that cannot work; the message says what came, what was expected and what to do."""


class WrongTypeError(ConfigError, TypeError):
    """A value of another type than was expected, where Gymnasium's environments raise a TypeError too."""


class UnknownSettingError(WrongTypeError):
    """A keyword that is no setting.

    It is a TypeError too, as for any function: callers such as TorchRL's ``GymEnv`` try keywords out, and look for one
    that says which was unexpected.
    """


class WorkerError(RuntimeError):
    """A worker has ended or was given up, again and again, and with it what it was to compute."""


def one_line(error: BaseException) -> str:
    """Kind of an exception and the first line of what it says, to be quoted by an error of ours."""
    return f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")


def shortened(value: object, most: int = 80) -> str:
    """What errors quote of a value that may come from a file: its ``repr``, cut to `most` characters."""
    try:
        text = repr(value[:most] if isinstance(value, str | bytes) else value)
    except ValueError:  # an integer of more digits than Python writes
        text = f"a very large {type(value).__name__}"
    cut = len(text) > most or (isinstance(value, str | bytes) and len(value) > most)
    return f"{text[: most - 1]}…" if cut else text


def brief(text: str, most: int = MOST) -> str:
    """A message in one line of at most `most` characters; what is too long loses its middle."""
    text = " ".join(text[: 100 * most].split())
    if len(text) <= most:
        return text
    end = most // 4
    return f"{text[: most - end - 3]} … {text[-end:]}"


@contextmanager
def reading(path: Path, mend: str) -> Iterator[None]:
    """Turns whatever a damaged or foreign file makes of its reader into one short error.

    Args:
        path: The file or folder that the block reads.
        mend: What to do; the end of the message.

    Raises:
        ConfigError: If the block raises anything but a ``FileNotFoundError``, which callers have words of their own
            for. Errors of ours keep their words, as far as these are no longer than ``MOST``.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except ConfigError as error:
        if len(str(error)) > MOST + len(str(path)):
            raise ConfigError(brief(str(error), MOST + len(str(path)))) from error
        raise
    except Exception as error:  # a reader of what may be anything raises anything
        raise ConfigError(f"{path} is damaged ({brief(_reason(error), 200)}); {mend}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no {error}"
    if isinstance(error, RecursionError | MemoryError):
        return "it is nested too deeply" if isinstance(error, RecursionError) else "it asks for too much memory"
    return str(error) or type(error).__name__


def require_integer(name: str, value: object, least: int = 1, most: int = 10**12, *, expected: str = "") -> int:
    """Checks a setting that is a whole number.

    Args:
        name: What the error calls it.
        value: What came; Python's integers and NumPy's, but no bool, which would count as 0 or 1.
        least: Smallest value that can work.
        most: Largest value that can work.
        expected: What the error says was expected, if there is more to say than ``an integer >= least``.

    Returns:
        The value, as Python's integer.

    Raises:
        ConfigError: If it is no integer, smaller than `least` or larger than `most`.
    """
    if isinstance(value, Integral) and int(value) > most:
        raise ConfigError(f"{name} is {shortened(value)}; expected {expected or f'at most {most:,}'}.")
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ConfigError(f"{name} is {shortened(value)}; expected {expected or f'an integer >= {least}'}.")
    return int(value)


def require_integers(settings: object, *names: str, least: int = 1, most: int = 10**12, expected: str = "") -> None:
    """Checks fields of a frozen dataclass that are whole numbers, and makes Python's integers of NumPy's.

    JSON, which settings are saved and compared as, knows only those.

    Args:
        settings: The dataclass, in its ``__post_init__``.
        *names: Names of the fields.
        least: Smallest value that can work.
        most: Largest value that can work.
        expected: As in :func:`require_integer`.

    Raises:
        ConfigError: If one is no integer, smaller than `least` or larger than `most`.
    """
    for name in names:
        value = require_integer(name, getattr(settings, name), least, most, expected=expected)
        object.__setattr__(settings, name, value)


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ConfigError:
    """The error for a name that is not known.

    Args:
        kind: What the name stands for, such as ``"reward"``.
        name: What came.
        known: The names that exist.

    Returns:
        An error that lists the known names (of hundreds, the closest) and the closest one, to be raised by the caller.
    """
    names = sorted(known)
    listed = ", ".join(map(repr, names))
    if len(listed) > MOST:
        near = difflib.get_close_matches(str(name)[:100], names, n=_NEAR, cutoff=0.0)
        listed = f"{', '.join(map(repr, near))}, and {len(names) - len(near)} more"
    close = difflib.get_close_matches(str(name)[:100], names, n=1, cutoff=0.5)
    close = close or [each for each in names if "".join(word[:1] for word in each.split("_")) == str(name)]  # lr
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ConfigError(f"Unknown {kind} {shortened(name)}.{hint} Known: {listed}.")
