"""Error texts that are shared: what came, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
